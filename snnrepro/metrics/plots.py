"""Pictures of the benchmarks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from snnrepro.pictures import save_png

Row = dict[str, Any]

# What is drawn, with a short label, colour and marker each; the Block has another target and is exact: it is not drawn.
LINES = {
    "lif_no_reset": ("LIF without reset", "C7", "x"),
    "spsn": ("SPSN", "C8", "v"),
    "psu": ("PSU", "C0", "o"),
    "rpsu_w_is_a": ("RPSU, W = A", "C4", "P"),
    "psu_refined_1": ("PSU, refined once", "C2", "s"),
    "psu_refined_2": ("PSU, refined twice", "C1", "D"),
    "psu_exact": ("PSU with true spikes", "black", "."),
    "mpe_psn": ("MPE-PSN (hard-reset LIF)", "C3", "^"),
    "mpe_psn_local": ("MPE-PSN local (hard-reset LIF)", "C5", "<"),
}
AXES = {"T": "time-steps T", "mean": "input mean", "tau": "time constant tau"}


def fidelity_picture(rows: Sequence[Row], at: Row, file: Path, title: str) -> None:
    """Agreement and firing-rate error over T, input mean and tau; the two that are not varied are held at `at`.

    One row of panels for each measure, one column for what is varied.
    rows: as the benchmark writes them, of one kind of input and one threshold.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    measures: list[tuple[str, Callable[[Row], float | None]]] = [
        ("spike agreement\n(1: the same train)", lambda row: row["agreement"]),
        ("firing rate minus\nits LIF's", lambda row: row["rate"] - row["target_rate"]),
    ]
    panels: Any
    figure, panels = pyplot.subplots(2, len(AXES), figsize=(11, 6.2), sharey="row", sharex="col", layout="constrained")
    for column, (axis, axis_label) in enumerate(AXES.items()):
        held = {name: value for name, value in at.items() if name != axis}
        chosen = [row for row in rows if all(row[name] == value for name, value in held.items())]
        for line, (measure_label, value_of) in enumerate(measures):
            panel = panels[line][column]
            for neuron, (label, color, marker) in LINES.items():
                points = sorted(
                    (row[axis], value_of(row))
                    for row in chosen
                    if row["neuron"] == neuron and value_of(row) is not None
                )
                if points:
                    xs, ys = zip(*points, strict=True)
                    style = {"dashes": (4, 2)} if neuron == "psu_exact" else {}
                    panel.plot(xs, ys, color=color, marker=marker, markersize=4.5, linewidth=1.3, label=label, **style)
            if axis != "mean":
                panel.set_xscale("log", base=2)
                ticks = sorted({row[axis] for row in chosen})
                panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
                panel.minorticks_off()
            panel.grid(alpha=0.3)
            if column == 0:
                panel.set_ylabel(measure_label)
            if line == len(measures) - 1:
                panel.set_xlabel(f"{axis_label}\n({', '.join(f'{name} = {value:g}' for name, value in held.items())})")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    figure.suptitle(title, fontsize=11)
    save_png(figure, file)


def memory_picture(rows: Sequence[Row], file: Path) -> None:
    """Peak memory of a forward and backward pass over T, both logarithmic; a line for each neuron and form."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    lines: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in rows:
        lines.setdefault((row["neuron"], row["form"]), []).append((row["T"], row["peak_mib"]))
    for number, ((name, form), points) in enumerate(lines.items()):
        label = f"{name}, {'T x T product' if form == 'dense' else 'scan'}"
        axes.plot(*zip(*points, strict=True), marker="osD^v"[number % 5], markersize=5, label=label)
    steps = sorted({row["T"] for row in rows})
    axes.axhline(1024, color="grey", linestyle=":", linewidth=1)
    axes.annotate("1 GiB", (steps[0], 1024), textcoords="offset points", xytext=(0, 4), color="grey")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(steps, [f"{step:,}" for step in steps], fontsize=8)
    axes.set_yticks([2**k for k in range(-1, 12, 2)], [f"{2.0**k:g}" for k in range(-1, 12, 2)])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.set(xlabel="time-steps T", ylabel="peak memory, MiB", title=f"Forward and backward, N = {rows[0]['N']}, fp32")
    axes.legend()
    save_png(figure, file)
