"""Measure this machine: ratios side by side in one run, never a single figure alone.

    python scripts/benchmark.py neurons    every neuron against the step-by-step LIF, over T and N
    python scripts/benchmark.py data       loaders from memory and from the packed cache, beside tonic's cache
    python scripts/benchmark.py frames     events to frames, beside tonic's ToFrame
    python scripts/benchmark.py fidelity   how close each parallel neuron comes to the LIF that it stands for
    python scripts/benchmark.py memory     peak memory and time of long sequences, forward and backward

Each prints a table and writes runs/benchmarks/<name>_<device>.csv with all conditions (--out: another folder);
fidelity and memory draw their pictures there too.
"""

import argparse
import csv
import math
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from rich.table import Table

from snnrepro.errors import UserError, did_you_mean
from snnrepro.ledger.record import git_state, versions
from snnrepro.ledger.tables import amount, show

Row = dict[str, Any]


@cache
def conditions(device: Any) -> Row:
    """What every row carries, so that it can be read alone."""
    import torch

    from snnrepro.training.session import cpu_name

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    git = git_state()
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "torch": versions()["torch"],
        "commit": f"{git['commit']}{'-dirty' if git['dirty'] else ''}",
    }


def spread(name: str, seconds: list[float]) -> Row:
    """Median, smallest and largest of the repeats."""
    return {
        name: statistics.median(seconds) if seconds else None,
        f"{name}_min": min(seconds, default=None),
        f"{name}_max": max(seconds, default=None),
    }


def neurons(arguments: argparse.Namespace) -> Iterator[Row]:
    """Forward and forward+backward of each neuron at [T, N] against the LIF loop, fp32, checked before timed."""
    import torch
    from hydra.utils import instantiate

    from snnrepro.config.check import options
    from snnrepro.config.compose import compose_job
    from snnrepro.metrics.speed import loop_timings

    device = torch.device(arguments.device)
    chosen = arguments.neurons or options("neuron")
    for name in chosen:
        if name not in options("neuron"):
            raise UserError(f"unknown neuron {name!r}{did_you_mean(name, options('neuron'))}")
    factories = {name: instantiate(compose_job([f"neuron={name}"]).config.neuron, _convert_="all") for name in chosen}
    for steps in arguments.steps:
        for size in arguments.sizes:
            for name, factory in factories.items():
                neuron = factory(num_steps=steps, num_features=size).to(device)
                seconds = loop_timings(neuron, (steps, 1, size), device, arguments.repeats)
                row = {
                    "neuron": name,
                    "kernel": neuron.kernel(steps, device),
                    "T": steps,
                    "N": size,
                    "dtype": "float32",
                }
                for kind in ("forward", "forward_backward"):
                    # Nothing where the equality check failed: no time is reported then.
                    own, loop = seconds.get(f"neuron_{kind}", []), seconds.get(f"lif_{kind}", [])
                    row |= spread(f"{kind}_s", own) | spread(f"lif_loop_{kind}_s", loop)
                    row[f"{kind}_vs_lif_loop"] = statistics.median(loop) / statistics.median(own) if own else None
                yield row | {"repeats": arguments.repeats, "checked": bool(seconds)} | conditions(device)


def data(arguments: argparse.Namespace) -> Iterator[Row]:
    """Batches from memory and from the packed cache, beside tonic's cache (scripts/benchmark_loading.py)."""
    import torch
    from benchmark_loading import loading

    for row in loading(arguments):
        yield row | conditions(torch.device("cpu"))


def frames(arguments: argparse.Namespace) -> Iterator[Row]:
    """Events to frames, beside tonic's ToFrame (scripts/benchmark_loading.py)."""
    import torch
    from benchmark_loading import framing

    for row in framing(arguments):
        yield row | conditions(torch.device("cpu"))


# Neurons with exponential kernels, in the forms that are compared; a T x T product stops where it fills the memory.
MEMORY_FORMS = [(name, "torch") for name in ("lif_no_reset", "psu", "spsn", "block")] + [("psu", "dense")]
DENSE_LONGEST = 8192


def memory(arguments: argparse.Namespace) -> Iterator[Row]:
    """One forward and backward pass over [T, 1, N] in fp32, each in a process of its own, one thread."""
    import torch
    from hydra.utils import instantiate

    from snnrepro.config.compose import compose_job
    from snnrepro.metrics.memory import forward_backward_cost

    torch.set_num_threads(1)  # before any work: the measuring processes are forked
    for name, form in MEMORY_FORMS:
        config = compose_job([f"neuron={name}", f"neuron.backend={form}"]).config
        factory = instantiate(config.neuron, _convert_="all")
        for steps in arguments.steps:
            if form == "dense" and steps > DENSE_LONGEST:
                continue
            neuron = factory(num_steps=steps, num_features=arguments.size)
            cost = forward_backward_cost(neuron, (steps, 1, arguments.size))
            row = {"neuron": name, "form": form, "T": steps, "N": arguments.size, "dtype": "float32"}
            inputs = steps * arguments.size * 4
            measured = {"peak_mib": cost.bytes / 2**20, "peak_per_input": cost.bytes / inputs, "seconds": cost.seconds}
            yield row | measured | conditions(torch.device("cpu"))


# Where the fidelity table is printed, and what a picture holds while it varies the third.
FIDELITY_AT = {"T": 16, "mean": 0.5, "tau": 2.0}
FIDELITY_GRID: dict[str, list[float]] = {
    "T": [4, 8, 16, 32, 64, 128, 256],
    "mean": [0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0],
    "tau": [1.5, 2.0, 3.0, 4.0, 8.0, 16.0],
}


def fidelity(arguments: argparse.Namespace) -> Iterator[Row]:
    """Every parallel neuron beside its loop on the same current: T, mean and tau each varied from FIDELITY_AT."""
    import torch

    from snnrepro.metrics.fidelity import measure, synthetic_current

    device = torch.device("cpu")
    if arguments.run is not None:
        yield from recorded_fidelity(arguments.run, arguments.thresholds, arguments.data_dir)
        return
    points = [FIDELITY_AT | {name: value} for name, values in FIDELITY_GRID.items() for value in values]
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
                    yield row | found._asdict() | conditions(device)


def recorded_fidelity(folder: Path, thresholds: list[float], data_dir: str | None) -> Iterator[Row]:
    """The same on the current that reached each neuron layer of a finished run, for one test batch."""
    import torch

    from snnrepro.metrics.fidelity import measure, recorded_currents
    from snnrepro.restore import restored

    network, x = restored(folder, data_dir)
    tau = FIDELITY_AT["tau"]
    for layer, current in recorded_currents(network, x).items():
        statistics_of = {"mean": float(current.mean()), "std": float(current.std())}
        for threshold in thresholds:
            torch.manual_seed(0)
            conditioned = {"input": layer, "v_threshold": threshold, "T": len(current), "tau": tau} | statistics_of
            for case, found in measure(current, tau, threshold):
                row = conditioned | {"N": current.shape[1], "neuron": case.name, "target": case.target}
                yield row | found._asdict() | conditions(torch.device("cpu"))


def fidelity_pictures(rows: list[Row], folder: Path) -> None:
    """One picture for each kind of input and threshold of the grid."""
    from snnrepro.metrics.plots import fidelity_picture

    for kind, threshold in sorted({(row["input"], row["v_threshold"]) for row in rows}):
        chosen = [row for row in rows if (row["input"], row["v_threshold"]) == (kind, threshold)]
        file = folder / f"fidelity_{kind}_threshold{threshold:g}.png"
        size = f"standard deviation {chosen[0]['std']:g}, threshold {threshold:g}, N = {chosen[0]['N']}"
        fidelity_picture(
            chosen, FIDELITY_AT, file, f"Parallel neurons against the LIF they stand for: {kind} input, {size}"
        )


def fidelity_table(rows: list[Row]) -> list[Row]:
    """Of the grid the rows at FIDELITY_AT; of a run all."""
    at = [row for row in rows if all(row[name] == value for name, value in FIDELITY_AT.items())]
    return at or rows


BENCHMARKS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "neurons": neurons,
    "data": data,
    "frames": frames,
    "fidelity": fidelity,
    "memory": memory,
}
SHOWN = {
    "neurons": ["neuron", "kernel", "T", "N", "forward_vs_lif_loop", "forward_backward_vs_lif_loop", "checked"],
    "data": [
        "dataset",
        "T",
        "input",
        "loader_samples_per_second",
        "loader_mb_per_second",
        "input_samples_per_second",
        "tonic_samples_per_second",
        "loader_vs_tonic",
    ],
    "frames": ["split_by", "events_per_recording", "ours_ms", "tonic_ms", "ours_vs_tonic", "smallest", "largest"],
    "memory": ["neuron", "form", "T", "N", "peak_mib", "peak_per_input", "seconds"],
    "fidelity": [
        "input",
        "v_threshold",
        "neuron",
        "target",
        "agreement",
        "rate",
        "target_rate",
        "van_rossum",
        "membrane_error",
    ],
}


def positive(text: str) -> float:
    """A number above 0 from the command line."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def positive_int(text: str) -> int:
    """A whole number above 0 from the command line."""
    value = int(text)
    positive(text)
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="benchmark", required=True)
    of_neurons = commands.add_parser("neurons", help="every neuron against the step-by-step LIF")
    of_neurons.add_argument("--neurons", nargs="+", metavar="NAME", help="default: all")
    of_neurons.add_argument("--steps", nargs="+", type=positive_int, default=[4, 16, 64], metavar="T")
    of_neurons.add_argument("--sizes", nargs="+", type=positive_int, default=[2**8, 2**12, 2**16], metavar="N")
    of_neurons.add_argument("--device", default="cpu", help="cpu or cuda")
    of_data = commands.add_parser("data", help="samples/s and bytes/s of the loaders, one process, one thread")
    of_data.add_argument("--datasets", nargs="+", metavar="NAME", help="default: all that are there, and shd_random")
    of_data.add_argument("--data-dir", help="default: SNNREPRO_DATA, else data/")
    of_frames = commands.add_parser("frames", help="events to frames, ours and tonic's, on DVS-Gesture recordings")
    of_frames.add_argument("--data-dir", help="default: SNNREPRO_DATA, else data/")
    of_frames.add_argument("--recordings", type=positive_int, default=10, metavar="N", help="at most so many")
    of_fidelity = commands.add_parser("fidelity", help="how close each parallel neuron comes to the LIF it stands for")
    of_fidelity.add_argument("--size", type=positive_int, default=2048, metavar="N", help="neurons side by side")
    of_fidelity.add_argument("--thresholds", nargs="+", type=positive, default=[0.5, 1.0], metavar="TH")
    # Not a round number: a membrane exactly on the threshold would count the rules > and >= as a difference.
    of_fidelity.add_argument("--std", type=positive, default=0.9, help="standard deviation of the input")
    of_fidelity.add_argument("--run", type=Path, metavar="FOLDER", help="take the current of a finished run's layers")
    of_fidelity.add_argument("--data-dir", help="of the run: default SNNREPRO_DATA, else data/")
    of_memory = commands.add_parser("memory", help="peak memory of long sequences, forward and backward")
    of_memory.add_argument("--steps", nargs="+", type=positive_int, default=[2**k for k in range(8, 17)], metavar="T")
    of_memory.add_argument("--size", type=positive_int, default=64, metavar="N", help="neurons")
    for command in (of_neurons, of_data, of_frames):
        command.add_argument("--repeats", type=positive_int, default=5)
    for command in (of_neurons, of_data, of_frames, of_fidelity, of_memory):
        command.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the rows")
    arguments = parser.parse_args()
    try:
        run(arguments)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def run(arguments: argparse.Namespace) -> None:
    from rich.progress import track

    rows = list(track(BENCHMARKS[arguments.benchmark](arguments), description="measuring", transient=True))
    arguments.out.mkdir(parents=True, exist_ok=True)
    of_run = "_run" if getattr(arguments, "run", None) else ""
    file = arguments.out / f"{arguments.benchmark}{of_run}_{getattr(arguments, 'device', 'cpu')}.csv"
    partial = file.with_suffix(".partial")
    with partial.open("w") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(file)
    shown = rows
    if arguments.benchmark == "fidelity":
        shown = fidelity_table(rows)
        if arguments.run is None:
            fidelity_pictures(rows, arguments.out)
    if arguments.benchmark == "memory":
        from snnrepro.metrics.plots import memory_picture

        memory_picture(rows, arguments.out / "memory.png")
    table = Table(
        title=f"{arguments.benchmark} on {rows[0]['device']}, {rows[0]['threads']} threads", title_justify="left"
    )
    for column in SHOWN[arguments.benchmark]:
        table.add_column(column, justify="right")
    for row in shown:
        table.add_row(
            *(amount(v) if isinstance(v, float) else str(v) for v in (row[c] for c in SHOWN[arguments.benchmark]))
        )
    show(table)
    print(f"rows: {file}")


if __name__ == "__main__":
    main()
