"""The fidelity benchmark as a picture: one row of panels for what is measured, one column for what is varied."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def draw(rows: Sequence[Row], at: Row, file: Path, title: str) -> None:
    """Agreement and firing-rate error over T, input mean and tau; the two that are not varied are held at `at`.

    rows: as the benchmark writes them, of one kind of input and one threshold.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    measures = {
        "agreement": ("spike agreement\n(1: the same train)", lambda row: row["agreement"]),
        "rate": ("firing rate minus\nits LIF's", lambda row: row["rate"] - row["target_rate"]),
    }
    panels: Any
    figure, panels = pyplot.subplots(2, len(AXES), figsize=(11, 6.2), sharey="row", sharex="col", layout="constrained")
    for column, (axis, axis_label) in enumerate(AXES.items()):
        held = {name: value for name, value in at.items() if name != axis}
        chosen = [row for row in rows if all(row[name] == value for name, value in held.items())]
        for line, (_, (measure_label, value_of)) in enumerate(measures.items()):
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
    figure.savefig(file, dpi=130)
    pyplot.close(figure)
