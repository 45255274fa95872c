"""The fidelity benchmark of scripts/benchmark.py: how close each parallel neuron comes to the LIF it stands for."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]

# Where the fidelity table is printed, and what a picture holds while it varies the third.
AT = {"T": 16, "mean": 0.5, "tau": 2.0}
GRID: dict[str, list[float]] = {
    "T": [4, 8, 16, 32, 64, 128, 256],
    "mean": [0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0],
    "tau": [1.5, 2.0, 3.0, 4.0, 8.0, 16.0],
}


def fidelity(arguments: argparse.Namespace) -> Iterator[Row]:
    """Every parallel neuron beside its loop on the same current: T, mean and tau each varied from AT."""
    import torch

    from snnrepro.metrics.fidelity import measure, synthetic_current

    if arguments.trained:
        for folder in arguments.trained:
            yield from trained(folder, arguments.data_dir)
        return
    if arguments.run is not None:
        yield from recorded(arguments.run, arguments.thresholds, arguments.data_dir)
        return
    points = [AT | {name: value} for name, values in GRID.items() for value in values]
    unique = list({tuple(point.values()): point for point in points}.values())
    for kind in ("gaussian", "poisson"):
        for threshold in arguments.thresholds:
            for point in unique:
                generator = torch.Generator().manual_seed(0)
                torch.manual_seed(0)  # the keys of the stochastic neurons
                current = synthetic_current(
                    kind, int(point["T"]), arguments.size, point["mean"], arguments.std, generator
                )
                conditioned = {"input": kind, "std": arguments.std, "v_threshold": threshold} | point
                for case, found in measure(current, point["tau"], threshold):
                    row = conditioned | {"N": arguments.size, "neuron": case.name, "target": case.target}
                    yield row | found._asdict()


def recorded(folder: Path, thresholds: list[float], data_dir: str | None) -> Iterator[Row]:
    """The same on the current that reached each neuron layer of a finished run, for one test batch."""
    import torch

    from snnrepro.metrics.fidelity import measure, recorded_currents
    from snnrepro.restore import restored

    network, x = restored(folder, data_dir)
    tau = AT["tau"]
    for layer, current in recorded_currents(network, x).items():
        statistics_of = {"mean": float(current.mean()), "std": float(current.std())}
        for threshold in thresholds:
            torch.manual_seed(0)
            conditioned = {"input": layer, "v_threshold": threshold, "T": len(current), "tau": tau} | statistics_of
            for case, found in measure(current, tau, threshold):
                row = conditioned | {"N": current.shape[1], "neuron": case.name, "target": case.target}
                yield row | found._asdict()


def trained(folder: Path, data_dir: str | None) -> Iterator[Row]:
    """What the neurons of a finished run have become, layer by layer, beside the LIF that they stand for."""
    import torch

    from snnrepro.ledger.record import read_record
    from snnrepro.metrics.fidelity import measure_trained
    from snnrepro.restore import restored

    network, x = restored(folder, data_dir)
    record: dict[str, Any] = read_record(folder) or {}
    torch.manual_seed(0)
    target: Any
    for layer, current, target, found in measure_trained(network, x):
        yield {
            "run": record["identity"],
            "neuron": record["neuron"],
            "input": layer,
            "target": f"lif_{target.reset}",
            "v_threshold": float(target.v_threshold),
            "tau": float(target.tau),
            "T": len(current),
            "N": current.shape[1],
            "mean": float(current.mean()),
            "std": float(current.std()),
        } | found._asdict()


def pictures(rows: list[Row], folder: Path) -> None:
    """One picture for each kind of input and threshold of the grid."""
    from snnrepro.metrics.plots import fidelity_picture

    for kind, threshold in sorted({(row["input"], row["v_threshold"]) for row in rows}):
        chosen = [row for row in rows if (row["input"], row["v_threshold"]) == (kind, threshold)]
        file = folder / f"fidelity_{kind}_threshold{threshold:g}.png"
        size = f"standard deviation {chosen[0]['std']:g}, threshold {threshold:g}, N = {chosen[0]['N']}"
        fidelity_picture(chosen, AT, file, f"Parallel neurons against the LIF they stand for: {kind} input, {size}")


def table(rows: list[Row]) -> list[Row]:
    """Of the grid the rows at AT; of a run all."""
    at = [row for row in rows if "run" not in row and all(row[name] == value for name, value in AT.items())]
    return at or rows
