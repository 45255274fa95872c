"""Pictures of runs: learning curves, and measures side by side."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from snnrepro.ledger.runs import Record, Recorded, number
from snnrepro.ledger.tables import accuracy_of
from snnrepro.pictures import save_png

LARGEST = 1e12  # on an axis
MANY = 8  # from here on, learning curves get a panel for each config


def by_config(found: Sequence[Recorded]) -> dict[str, list[Recorded]]:
    """Runs by their neuron, with the config's hash where one neuron has several; seeds together."""
    groups: dict[str, list[Recorded]] = defaultdict(list)
    for run in found:
        groups[run.place.rpartition("/")[2]].append(run)
    neurons = [name.rpartition("-")[0] for name in groups]
    return {
        _no_formula(neuron if neurons.count(neuron) == 1 else name): groups[name]
        for name, neuron in sorted(zip(groups, neurons, strict=True))
    }


def _no_formula(text: str) -> str:
    """A text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")


def curves(found: Sequence[Recorded], title: str, file: Path) -> None:
    """Accuracy over epochs of one experiment's runs: solid on validation or test, dotted on the training batches.

    One colour and marker for each neuron and config, shared by its seeds; with many, a panel each.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    configs = by_config(found)
    stages = {"validation": "validation", "epoch_test": "test set"}
    lines = {name: [_curve(run) for run in runs] for name, runs in configs.items()}
    many = len(configs) > MANY
    columns = 5 if many else 1
    rows = -(-len(configs) // columns) if many else 1
    size = (12, 1.9 * rows + 0.8) if many else (7, 4.2)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    panels = list(grid.flat)
    for place, (name, runs) in enumerate(lines.items()):
        panel = panels[place if many else 0]
        color = "C0" if many else f"C{place % 10}"
        if many:  # all the others in one collection: a line each would take minutes over thousands of runs
            others = [list(zip(line[1], line[2], strict=True)) for each in lines.values() for line in each]
            panel.add_collection(LineCollection(others, colors="0.85", linewidths=0.6))
            panel.set_title(name, fontsize=9)
        seeds = f"{name}, {len(runs)} seed{'s' if len(runs) > 1 else ''}"
        for seed, (_, epochs, accuracy, train) in enumerate(runs):
            style: dict[str, Any] = {} if many else {"marker": "osD^vPX*<>"[place % 10], "markersize": 4}
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
    save_png(figure, file)


def _curve(run: Recorded) -> tuple[str, list[float], list[float], list[float]]:
    """(stage, epochs from 1, accuracy of the stage, training accuracy) of one run; what is missing is NaN."""
    rows = run.curves()
    stage = "validation" if run.record.get("protocol") == "validated" else "epoch_test"
    epochs = [value + 1 for value in _column(rows, "epoch")]
    return stage, epochs, _column(rows, f"{stage}/accuracy"), _column(rows, "train/accuracy")


def _column(rows: list[dict[str, str]], name: str) -> list[float]:
    """The numbers of a column, NaN for one beyond what an axis can show."""
    values = (number(row.get(name)) for row in rows)
    return [value if abs(value) < LARGEST else math.nan for value in values]


def ranking(found: Sequence[Recorded], title: str, file: Path) -> None:
    """Test accuracy, firing rate, energy and speed of each config, a dot for each seed, the most accurate on top."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import PercentFormatter

    configs = by_config([run for run in found if accuracy_of(run.record) is not None])
    order = sorted(configs, key=lambda name: statistics.mean(accuracy_of(run.record) or 0 for run in configs[name]))
    measures: dict[str, Callable[[Record], float | None]] = {
        "test accuracy": accuracy_of,
        "firing rate": lambda record: record["metrics"].get("test/firing_rate"),
        "energy, nJ a sample": lambda record: _scaled(record["metrics"].get("test/energy_pj_per_sample"), 1e-3),
        "forward + backward,\ntimes as fast as the LIF loop": lambda r: r["metrics"].get("speed/neuron_vs_lif_loop"),
    }
    size = (12, 1.2 + 0.26 * len(order))
    figure, panels = pyplot.subplots(1, len(measures), figsize=size, sharey=True, layout="constrained")
    for panel, (label, value_of) in zip(panels, measures.items(), strict=True):
        for height, name in enumerate(order):
            values = [value for run in configs[name] if (value := value_of(run.record)) is not None]
            panel.plot(values, [height] * len(values), "o", color="C0", markersize=4, alpha=0.6)
            if values:
                panel.plot(statistics.mean(values), height, "|", color="black", markersize=11)
        panel.set_xlabel(label)
        panel.locator_params(axis="x", nbins=5)
        panel.grid(alpha=0.3)
    panels[0].xaxis.set_major_formatter(PercentFormatter(1.0))
    panels[0].set_yticks(range(len(order)), order)
    panels[-1].axvline(1, color="grey", linewidth=1, linestyle=":")
    figure.suptitle(f"{title}: a dot for each seed, a bar for their mean", fontsize=10)
    save_png(figure, file)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def pictures(runs: Sequence[Recorded], out: Path) -> Iterator[tuple[int, int]]:
    """Write, of each folder of configs, the learning curves, and from three completed configs on the ranking.

    Yields (folders done, folders in all) after each.
    """
    by_experiment: dict[Path, list[Recorded]] = defaultdict(list)
    for run in runs:
        if run.curves():
            by_experiment[run.folder.parents[1]].append(run)
    names: list[str] = []
    for done, (place, found) in enumerate(by_experiment.items(), 1):
        title = _no_formula(found[0].place.rpartition("/")[0])
        name = "-".join(part for part in place.parts[-2:] if part != "/")
        name += f"-{names.count(name) + 1}" if name in names else ""
        names.append(name)
        curves(found, title, out / f"curves-{name}.png")
        if len(by_config([run for run in found if accuracy_of(run.record) is not None])) > 2:
            ranking(found, title, out / f"ranking-{name}.png")
        yield done, len(by_experiment)
