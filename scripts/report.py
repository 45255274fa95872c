"""Compare the runs that have been recorded: a table, and the learning curves of each experiment.

    python scripts/report.py                     every record under runs/ and results/
    python scripts/report.py runs/digits-dense   those under a folder

Prints the table and writes REPORT.md, and of each experiment a picture of the learning curves and, from three configs
on, one of accuracy, firing rate, energy and speed side by side (--out: where to).
"""

import argparse
import csv
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snnrepro.errors import UserError
from snnrepro.ledger.record import read_record
from snnrepro.ledger.tables import accuracy_of, amount, energy, percent, runs_table, show

Found = tuple[Path, dict[str, Any]]


def collect(folders: list[Path]) -> tuple[list[Found], list[Path]]:
    """All records below the folders, and the run.json files that cannot be read."""
    files = sorted({file for folder in folders for file in folder.rglob("run.json")})
    read = [(file.parent, read_record(file.parent)) for file in files]
    return [(where, record) for where, record in read if record], [where / "run.json" for where, r in read if not r]


MANY = 8  # from here on, learning curves get a panel for each config


def by_config(found: list[Found]) -> dict[str, list[Found]]:
    """Runs by their neuron, with the config's hash where one neuron has several; seeds together."""
    groups: dict[str, list[Found]] = defaultdict(list)
    for where, record in found:
        groups[record["identity"].split("/")[-2]].append((where, record))
    neurons = [name.rsplit("-", 1)[0] for name in groups]
    return {
        (neuron if neurons.count(neuron) == 1 else name): groups[name]
        for name, neuron in sorted(zip(groups, neurons, strict=True))
    }


def curves(found: list[Found], title: str, file: Path) -> None:
    """Accuracy over epochs of one experiment's runs: solid on validation or test, dotted on the training batches.

    One colour and marker for each neuron and config, shared by its seeds; with many, a panel each.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    configs = by_config(found)
    stages = {"validation": "validation", "epoch_test": "test set"}
    lines = {name: [_curve(where, record) for where, record in runs] for name, runs in configs.items()}
    many = len(configs) > MANY
    columns = 5 if many else 1
    rows = -(-len(configs) // columns) if many else 1
    size = (12, 1.9 * rows + 0.8) if many else (7, 4.2)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    panels = list(grid.flat)
    for number, (name, runs) in enumerate(lines.items()):
        panel = panels[number if many else 0]
        color = "C0" if many else f"C{number % 10}"
        if many:
            for other in (line for each in lines.values() for line in each):
                panel.plot(other[1], other[2], color="0.85", linewidth=0.6)
            panel.set_title(name, fontsize=9)
        seeds = f"{name}, {len(runs)} seed{'s' if len(runs) > 1 else ''}"
        for seed, (_, epochs, accuracy, train) in enumerate(runs):
            style: dict[str, Any] = {} if many else {"marker": "osD^vPX*<>"[number % 10], "markersize": 4}
            every = max(1, len(epochs) // 12)
            panel.plot(epochs, accuracy, color=color, label=seeds if seed == 0 else None, markevery=every, **style)
            panel.plot(epochs, train, color=color, linestyle=":", linewidth=1)
    for panel in panels:
        panel.set_visible(bool(panel.lines))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
        panel.grid(alpha=0.3)
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel("accuracy", fontsize=10)
    shown = " / ".join(sorted({stages[line[0]] for runs in lines.values() for line in runs}))
    figure.suptitle(f"{title}\nsolid: {shown}, dotted: train{', grey: the others' if many else ''}", fontsize=10)
    if not many:
        panels[0].legend(fontsize=8)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)


def _curve(where: Path, record: dict[str, Any]) -> tuple[str, list[int], list[float], list[float]]:
    """(stage, epochs from 1, accuracy of the stage, training accuracy) of one run."""
    rows = list(csv.DictReader((where / "curves.csv").read_text().splitlines()))
    stage = "validation" if record["protocol"] == "validated" else "epoch_test"
    epochs = [int(row["epoch"]) + 1 for row in rows]
    return stage, epochs, [float(r[f"{stage}/accuracy"]) for r in rows], [float(r["train/accuracy"]) for r in rows]


def ranking(found: list[Found], title: str, file: Path) -> None:
    """Test accuracy, firing rate, energy and speed of each config, a dot for each seed, the most accurate on top."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import PercentFormatter

    completed = [(where, record) for where, record in found if accuracy_of(record) is not None]
    configs = by_config(completed)
    order = sorted(configs, key=lambda name: statistics.mean(accuracy_of(r) or 0 for _, r in configs[name]))
    measures: dict[str, Callable[[dict[str, Any]], float | None]] = {
        "test accuracy": accuracy_of,
        "firing rate": lambda record: record["metrics"].get("test/firing_rate"),
        "energy, nJ a sample": lambda record: _scaled(record["metrics"].get("test/energy_pj_per_sample"), 1e-3),
        "forward + backward,\ntimes as fast as the LIF loop": lambda r: r["metrics"].get("speed/neuron_vs_lif_loop"),
    }
    size = (12, 1.2 + 0.26 * len(order))
    figure, panels = pyplot.subplots(1, len(measures), figsize=size, sharey=True, layout="constrained")
    for panel, (label, value_of) in zip(panels, measures.items(), strict=True):
        for height, name in enumerate(order):
            values = [value for _, record in configs[name] if (value := value_of(record)) is not None]
            panel.plot(values, [height] * len(values), "o", color="C0", markersize=4, alpha=0.6)
            if values:
                panel.plot(statistics.mean(values), height, "|", color="black", markersize=11)
        panel.set_xlabel(label)
        panel.grid(alpha=0.3)
    panels[0].xaxis.set_major_formatter(PercentFormatter(1.0))
    panels[0].set_yticks(range(len(order)), order)
    panels[-1].axvline(1, color="grey", linewidth=1, linestyle=":")
    figure.suptitle(f"{title}: a dot for each seed, a bar for their mean", fontsize=10)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def markdown(found: list[Found], broken: list[Path]) -> str:
    """The table for people who read files: one row a run, grouped as recorded."""
    lines = ["# Runs", "", "Written by `python scripts/report.py`; every row is a run.json.", ""]
    columns = [
        "run",
        "status",
        "protocol",
        "train samples",
        "epochs",
        "test accuracy",
        "firing rate",
        "energy",
        "train samples/s",
        "vs LIF loop",
    ]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for where, record in found:
        get = record.get("metrics", {}).get
        samples = record.get("samples") or {}
        partial = samples.get("train", 0) < samples.get("train_available", 0)
        cells = [
            where.as_posix(),
            record["status"] + (f": {record['error']}" if record.get("error") else ""),
            record["protocol"],
            f"{samples.get('train', 0):,}" + (f" of {samples['train_available']:,}" if partial else ""),
            record["config"]["trainer"]["max_epochs"],
            percent(accuracy_of(record)),
            amount(get("test/firing_rate")),
            energy(get("test/energy_pj_per_sample")),
            amount(get("train/samples_per_second")),
            amount(get("speed/neuron_vs_lif_loop"), "x"),
        ]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    if broken:
        lines += ["", f"Records that cannot be read ({len(broken)}): " + ", ".join(f"`{file}`" for file in broken)]
    return "\n".join(lines) + "\n"


def report(folders: list[Path], out: Path) -> None:
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder: name one that has run.json files below it")
    found, broken = collect(folders)
    if not found:
        raise UserError(f"no run.json below {', '.join(map(str, folders))}; `make train` writes the first")
    out.mkdir(parents=True, exist_ok=True)
    show(runs_table("runs", [(where.as_posix(), record) for where, record in found]))
    (out / "REPORT.md").write_text(markdown(found, broken))
    by_experiment: dict[Path, list[Found]] = defaultdict(list)
    for where, record in found:
        if (where / "curves.csv").is_file():
            by_experiment[where.parents[1]].append((where, record))
    for place, runs in by_experiment.items():
        title = runs[0][1]["identity"].rsplit("/", 2)[0]
        name = "-".join(part for part in place.parts[-2:] if part != "/")
        curves(runs, title, out / f"curves-{name}.png")
        if len(by_config([(w, r) for w, r in runs if accuracy_of(r) is not None])) > 2:
            ranking(runs, title, out / f"ranking-{name}.png")
    for file in broken:
        print(f"cannot read {file}", file=sys.stderr)
    plots = f"{len(by_experiment)} plot{'' if len(by_experiment) == 1 else 's'} of learning curves"
    print(f"written: {out / 'REPORT.md'} and {plots}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="default: runs and results")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/report"), help="folder to write to (default: runs/report)"
    )
    arguments = parser.parse_args()
    try:
        folders = arguments.folders or [folder for folder in (Path("runs"), Path("results")) if folder.is_dir()]
        report(folders or [Path("runs")], arguments.out)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
