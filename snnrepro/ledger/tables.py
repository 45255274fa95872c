"""Records as tables for the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

DASH = "–"
BUSY = 0.05  # share of the processor from which on other work is said to have disturbed a measurement


def percent(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.2f} %"


def amount(value: float | None, unit: str = "") -> str:
    """A number in three or four digits, with thousands separated."""
    if value is None:
        return DASH
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def energy(picojoules: float | None) -> str:
    if picojoules is None:
        return DASH
    for unit, size in (("mJ", 1e9), ("µJ", 1e6), ("nJ", 1e3)):
        if picojoules >= size:
            return f"{picojoules / size:.3g} {unit}"
    return f"{picojoules:.3g} pJ"


def of_all(taken: int, available: int) -> str:
    """`200 of 1,295`, or `1,295` where nothing is left out."""
    return f"{taken:,} of {available:,}" if taken < available else f"{taken:,}"


def accuracy_of(record: dict[str, Any]) -> float | None:
    """The accuracy of the record's own protocol: at the epoch chosen on validation, or of the last epoch."""
    metrics = record.get("metrics", {})
    value: float | None = metrics.get("test/accuracy")
    last: float | None = metrics.get("test/accuracy_last_epoch")
    return last if value is None else value


def busy(record: dict[str, Any]) -> float | None:
    """The largest share of the processor that other work took in a phase of the run; None where nothing says so."""
    shares = (record.get("others_cpu_share") or {}).values()
    return max((share for share in shares if isinstance(share, int | float)), default=None)


def run_table(record: dict[str, Any], where: str) -> Table:
    """One completed run, as `python train.py` ends."""
    metrics = record["metrics"]
    get = metrics.get
    samples = record["samples"]
    table = Table(title=record["identity"], title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    if record["protocol"] == "paper":
        best = (
            f"best epoch on the test set {percent(get('test/accuracy_best_epoch'))} (epoch {record['best_epoch'] + 1})"
        )
        table.add_row("test accuracy", f"last epoch {percent(get('test/accuracy_last_epoch'))}, {best}")
    else:
        chosen = f"epoch {record['best_epoch'] + 1}, chosen on validation at {percent(get('validation/accuracy'))}"
        table.add_row("test accuracy", f"{percent(get('test/accuracy'))} ({chosen})")
    rates = {name.rsplit("/", 1)[1]: v for name, v in metrics.items() if name.startswith("test/firing_rate/")}
    by_layer = ", ".join(f"{layer} {value:.4f}" for layer, value in rates.items())
    table.add_row("firing rate", f"{get('test/firing_rate'):.4f} ({by_layer})")
    if (silent := get("test/silent_neurons")) is not None:
        table.add_row("neurons", f"{silent:.1%} never fired, {get('test/saturated_neurons'):.1%} always")
    table.add_row("spikes per sample", amount(get("test/spikes_per_sample")))
    ratio = get("test/ann_over_energy")
    beside = "" if ratio is None else f"; an ANN of this shape {ratio:.3g} x as much"
    table.add_row("energy per sample", f"{energy(get('test/energy_pj_per_sample'))} ({record['cost_model']}{beside})")
    table.add_row("training", amount(get("train/samples_per_second"), "samples/s"))
    table.add_row("inference", amount(get("test/samples_per_second"), "samples/s"))
    ratio = get("speed/neuron_vs_lif_loop")
    speed = "not reported: it failed its equality check" if ratio is None else f"{ratio:.2f} x the step-by-step LIF"
    forward = get("speed/neuron_vs_lif_loop_forward")
    table.add_row("neuron speed", speed + ("" if forward is None else f" (forward alone {forward:.2f} x)"))
    table.add_row(
        "samples",
        f"{of_all(samples['train'], samples['train_available'])} train, {samples['validation']:,} validation, "
        f"{of_all(samples['test'], samples.get('test_available', samples['test']))} test",
    )
    data = record.get("data", {})
    if data.get("partial"):
        counts = ", ".join(f"{data['recordings'][p]:,} of {n:,} {p}" for p, n in data["official"].items())
        shared = "; the test set is the training set" if data.get("test_is_train") else ""
        damaged = sum(((data.get("damaged") or {}).get("skipped") or {}).values())
        left_out = f"; {damaged:,} damaged left out" if damaged else ""
        table.add_row("data", f"partial: {counts}{left_out}{shared}; no verdict on any claim")
    if record.get("reduced"):
        table.add_row("reduced", f"{record['reduced']}; no verdict on any claim")
    if (share := busy(record) or 0.0) > BUSY:
        table.add_row("speeds", f"measured beside other work, which took {share:.0%} of the processor's time")
    table.add_row("record", f"{where}/run.json")
    return table


def runs_table(title: str, rows: list[tuple[str, dict[str, Any] | None]]) -> Table:
    """Runs by their records, a row each: (what it is called, record or None)."""
    table = Table(title=title, title_justify="left")
    for column in ("run", "status"):
        table.add_column(column, overflow="fold")
    for column in ("test accuracy", "firing rate", "spikes", "energy", "train samples/s", "vs LIF loop"):
        table.add_column(column, justify="right")
    for name, record in rows:
        if record is None:
            table.add_row(name, "not started", *[DASH] * 6)
            continue
        get = record.get("metrics", {}).get
        status = record["status"] + (f": {record['error']}" if record.get("error") else "")
        table.add_row(
            name,
            status,
            percent(accuracy_of(record)),
            amount(get("test/firing_rate")),
            amount(get("test/spikes_per_sample")),
            energy(get("test/energy_pj_per_sample")),
            amount(get("train/samples_per_second")),
            amount(get("speed/neuron_vs_lif_loop"), "x"),
        )
    return table


def show(table: Table) -> None:
    """Print without cutting words short where the output is no terminal; brackets in a text are no markup."""
    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    console = Console(**plain)
    if not console.is_terminal:
        console = Console(**plain, width=160)
    console.print()
    console.print(table)
