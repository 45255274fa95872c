"""Measure this machine: ratios side by side in one run, never a single figure alone.

    python scripts/benchmark.py neurons    every neuron in each form against loops, over T and N
    python scripts/benchmark.py networks   training steps and inference of whole networks against the LIF's
    python scripts/benchmark.py layers     the Block paper's layers against its two loops
    python scripts/benchmark.py peers      every bar of speed and memory beside other packages, met or not
    python scripts/benchmark.py data       loaders from memory and from the packed cache, beside tonic's cache
    python scripts/benchmark.py frames     events to frames, beside tonic's ToFrame
    python scripts/benchmark.py fidelity   how close each parallel neuron comes to the LIF that it stands for
    python scripts/benchmark.py memory     peak memory and time of long sequences, forward and backward

Each prints a table and writes runs/benchmarks/<name>_<device>.csv with all conditions (--out: another folder);
neurons, layers, peers, fidelity and memory draw their pictures there too. `neurons --help` says more of each.
"""

import argparse
import csv
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmark_tables import MEANING, SHOWN, footnotes, shown
from peers_bars import SECTIONS, levels
from rich.table import Table

from snnrepro.command import Parser, ended
from snnrepro.errors import UserError
from snnrepro.ledger.record import git_state, versions
from snnrepro.ledger.tables import BUSY, amount, show

Row = dict[str, Any]
DTYPES = ("float32", "bfloat16", "float16", "float64")

EXAMPLES = {
    "neurons": """
    python scripts/benchmark.py neurons --neurons psu psn --steps 4 64 1024 --sizes 4096
    python scripts/benchmark.py neurons --neurons mpe_psn --steps 4 16 64 --sizes 1024 4096 16384 65536
    python scripts/benchmark.py neurons --device cuda --dtypes float32 bfloat16

Baselines: loop (the step-by-step LIF), fused_loop (it in one kernel), it through torch.compile (compiled_loop: all T
steps, up to T = 16; compiled_step: one step, called T times), spikingjelly_lif, spikingjelly_twin (its own version of
the neuron) and snntorch_leaky, where these are installed. A row holds one neuron in one form (kernel) against one
baseline in one pass (forward without gradients, or forward_backward) at one T and N: medians, extremes, speedup =
baseline_seconds / seconds, speedup_low and speedup_high the extremes of the rounds, between which it lies. auto: the
neuron takes this form by itself. checked: both sides passed their equality check; without it there are no times.
others_cpu_share: of all cores' time, what other processes took meanwhile.
""",
    "networks": """
    python scripts/benchmark.py networks dataset=seq_cifar10 architecture.channels=32 --neurons lif psn psu
    python scripts/benchmark.py networks experiment=block/fashion_mnist --neurons block lif_multi_spike

The overrides, before any option, are those of train.py. Input is random, so that no data are needed. Memory is that of
a process of its own, input, weights and optimiser included.
""",
    "layers": """
    python scripts/benchmark.py layers
    python scripts/benchmark.py layers --sizes 100 200 400 700 1000 --steps 8 32 128 512 2048 --batches 16 128
""",
    "peers": """
    python scripts/benchmark.py peers
    python scripts/benchmark.py peers --only neurons memory --steps 4 64 512 --sizes 4096
    python scripts/benchmark.py peers --only block --full
    python scripts/benchmark.py peers --device cuda --out results/benchmarks

Sections: neurons (against spikingjelly's own, forward and with backward), snntorch (lif and plif against its Leaky),
cost (of a step at T = 4096 over that at T = 64, and psu against its T x T form), block (against its paper's
convolutions and the single-spike loop, over the paper's grid), memory (peak of forward and backward against
spikingjelly's, from T x N = 2^20), network (a training step of the sequential-CIFAR net against the same with
spikingjelly's neurons), floor (each fused neuron against copying its fewest bytes and making its fewest products at
the machine's speed, 2^24 values). --steps, --sizes and --dtypes are those of neurons, snntorch and memory.

A cell is measured where both sides passed their equality check; without it, it has no times and counts as not met.
A slow cell gets fewer rounds than --repeats, at least 3. The table has a line for each bar: what is wanted, the
geometric mean, the worst cell, how many cells miss the value, and whether the bar is met. Rows are written as they
are measured, so that what is stopped is kept in the .partial file.
""",
}


@cache
def conditions(device_type: str) -> Row:
    """What every row carries, so that it can be read alone."""
    import torch

    from snnrepro.training.session import cpu_name

    git = git_state()
    return {
        "device": torch.cuda.get_device_name() if device_type == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": versions()["torch"],
        "commit": f"{git['commit']}{'-dirty' if git['dirty'] else ''}",
    }


class Measured(NamedTuple):
    """What a benchmark will yield: how many times (None: it cannot say), that in words, and some rows each time."""

    total: int | None
    words: str
    rows: Iterator[list[Row]]


def measure(arguments: argparse.Namespace) -> Measured:
    """Prepare a benchmark; bad input is found here, before anything is measured."""
    name = arguments.benchmark
    if name in ("neurons", "layers"):
        import benchmark_speed

        return Measured(*getattr(benchmark_speed, name)(arguments))
    if name == "networks":
        from benchmark_networks import networks

        return Measured(*networks(arguments))
    if name == "peers":
        from benchmark_peers import peers

        return Measured(*peers(arguments))
    single: Callable[[argparse.Namespace], Iterator[Row]]
    if name == "fidelity":
        from benchmark_fidelity import fidelity as single
    elif name == "memory":
        from benchmark_memory import memory as single
    elif name == "data":
        from benchmark_loading import loading as single
    else:
        from benchmark_loading import framing as single
    return Measured(None, "", ([row] for row in single(arguments)))


def draw(arguments: argparse.Namespace, rows: list[Row]) -> None:
    """The pictures of a benchmark that has some."""
    if arguments.benchmark == "fidelity" and arguments.run is None and not arguments.trained:
        from benchmark_fidelity import pictures

        pictures(rows, arguments.out)
    elif arguments.benchmark == "memory":
        from benchmark_memory import pictures

        pictures(rows, arguments.out)
    elif arguments.benchmark == "peers":
        from snnrepro.metrics.speed_plots import peer_curves

        for sections, name in ((("neurons", "snntorch"), "peers"), (("block",), "peers_block")):
            chosen = [row for row in rows if row["section"] in sections and row["speedup"]]
            if chosen:
                file = arguments.out / f"{name}_{arguments.device}.png"
                peer_curves(chosen, levels, file)
                print(f"picture: {file}")
    elif arguments.benchmark in ("neurons", "layers"):
        from snnrepro.metrics.speed_plots import layer_maps, neuron_maps

        of_neurons = arguments.benchmark == "neurons"
        by, maps = ("dtype", neuron_maps) if of_neurons else ("batch", layer_maps)
        for value in dict.fromkeys(row[by] for row in rows):
            part = value if of_neurons else f"batch{value}"
            file = arguments.out / f"{arguments.benchmark}_{arguments.device}_{part}.png"
            maps([row for row in rows if row[by] == value], file)
            print(f"picture: {file}")


def run(arguments: argparse.Namespace) -> None:
    from rich.progress import track

    arguments.out.mkdir(parents=True, exist_ok=True)
    total, words, measured = measure(arguments)
    if words:
        print(f"to measure: {words}")
    device_type = getattr(arguments, "device", "cpu")
    common = conditions(device_type)
    progress = track(measured, description="measuring", total=total, transient=True)
    of_run = next((f"_{name}" for name in ("run", "trained") if getattr(arguments, name, None)), "")
    file = arguments.out / f"{arguments.benchmark}{of_run}_{device_type}.csv"
    rows = written((row | common for found in progress for row in found), file)
    if not rows and arguments.benchmark == "peers":
        return  # it has said what is not installed
    if not rows:
        raise UserError("nothing was measured")
    of_table = shown(arguments.benchmark, rows)
    where = f"{rows[0]['device']}, {rows[0]['threads']} thread{'s' * (rows[0]['threads'] != 1)}"
    title = f"{arguments.benchmark} on {where}{MEANING.get(arguments.benchmark, '')}"
    table = Table(title=title, title_justify="left")
    columns = SHOWN.get(arguments.benchmark) or list(of_table[0])
    for column in columns:
        table.add_column(column, justify="right")
    for row in of_table:
        table.add_row(*(amount(v) if isinstance(v, float) else str(v) for v in (row[c] for c in columns)))
    show(table)
    for line in footnotes(arguments.benchmark, rows):
        print(line)
    busiest = max((row["others_cpu_share"] or 0.0 for row in rows if "others_cpu_share" in row), default=0.0)
    if busiest > BUSY:
        print(
            f"other processes took up to {100 * busiest:.0f} % of all cores meanwhile: the times are of a busy machine"
        )
    draw(arguments, rows)
    print(f"rows: {file}")


def written(measured: Iterable[Row], file: Path) -> list[Row]:
    """The rows, each written as it is measured; `file` only takes its name when all are there."""
    rows: list[Row] = []
    partial = file.with_suffix(".partial")
    with ExitStack() as stack:
        try:
            for row in measured:
                if not rows:
                    stream = stack.enter_context(partial.open("w", buffering=1))
                    writer = csv.DictWriter(stream, list(row), lineterminator="\n")
                    writer.writeheader()
                writer.writerow({name: rounded(value) for name, value in row.items()})
                rows.append(row)
        except BaseException:
            if rows:
                print(f"stopped: {len(rows):,} rows so far are in {partial}", file=sys.stderr)
            raise
    if rows:
        partial.replace(file)
    return rows


def rounded(value: Any) -> Any:
    """Six digits of a number, more than any clock or count here means."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def positive(text: str) -> float:
    """A number above 0 from the command line."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def positive_int(text: str) -> int:
    """A whole number above 0 from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return int(text)


def parser() -> Parser:
    top = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="benchmark", required=True)

    def command(name: str, help_: str) -> argparse.ArgumentParser:
        text = f"examples:\n{EXAMPLES[name]}" if name in EXAMPLES else None
        made = commands.add_parser(
            name, help=help_, description=help_, epilog=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        made.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the rows")
        return made

    def several(to: argparse.ArgumentParser, name: str, default: list[int], metavar: str, help_: str) -> None:
        to.add_argument(name, nargs="+", type=positive_int, default=default, metavar=metavar, help=help_)

    neurons = command("neurons", "every neuron in each of its forms against loops and other libraries, over T and N")
    neurons.add_argument("--neurons", nargs="+", metavar="NAME", help="default: all")
    several(neurons, "--steps", [4, 16, 64], "T", "time-steps (default: 4 16 64)")
    several(neurons, "--sizes", [2**8, 2**12, 2**16], "N", "neurons (default: 256 4096 65536)")
    beside = command("peers", "this package's neurons beside spikingjelly's and snntorch's, and every bar met or not")
    beside.add_argument(
        "--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)"
    )
    several(beside, "--steps", [4, 8, 16, 32, 64, 128, 512], "T", "time-steps (default: 4 to 128, and 512)")
    several(beside, "--sizes", [2**8, 2**12, 2**16], "N", "neurons (default: 256 4096 65536)")
    beside.add_argument("--full", action="store_true", help="all of the block's grid: hours, tens of GiB")
    for made in (neurons, beside):
        made.add_argument(
            "--dtypes",
            nargs="+",
            choices=DTYPES,
            default=["float32"],
            metavar="DTYPE",
            help=f"of the input: {', '.join(DTYPES)} (default: float32)",
        )
    neurons.add_argument("--no-compile", dest="compiled", action="store_false", help="leave out what takes compiling")
    networks = command("networks", "training steps and inference of whole networks against the same with LIF")
    networks.add_argument("overrides", nargs="*", metavar="key=value", help="of train.py")
    networks.add_argument("--neurons", nargs="+", default=["psn", "psu"], metavar="NAME", help="beside lif")
    layers = command("layers", "the Block paper's layers against its single-spike and multi-spike loops")
    several(layers, "--sizes", [100, 400, 1000], "N", "neurons (default: 100 400 1000)")
    several(layers, "--steps", [8, 64, 256], "T", "time-steps (default: 8 64 256)")
    several(layers, "--batches", [64], "B", "samples (default: 64)")
    for made in (neurons, networks, layers, beside):
        made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    data = command("data", "samples/s and bytes/s of the loaders, one process, one thread")
    data.add_argument("--datasets", nargs="+", metavar="NAME", help="default: all that are there, and shd_random")
    data.add_argument("--data-dir", help="default: SNNREPRO_DATA, else data/")
    frames = command("frames", "events to frames, ours and tonic's, on DVS-Gesture recordings")
    frames.add_argument("--data-dir", help="default: SNNREPRO_DATA, else data/")
    frames.add_argument("--recordings", type=positive_int, default=10, metavar="N", help="at most so many")
    for made in (neurons, networks, layers, data, frames):
        made.add_argument("--repeats", type=positive_int, default=5, metavar="R", help="rounds (default: 5)")
    beside.add_argument("--repeats", type=positive_int, default=25, metavar="R", help="rounds at most (default: 25)")
    fidelity = command("fidelity", "how close each parallel neuron comes to the LIF it stands for")
    fidelity.add_argument("--size", type=positive_int, default=2048, metavar="N", help="neurons side by side")
    fidelity.add_argument("--thresholds", nargs="+", type=positive, default=[0.5, 1.0], metavar="TH")
    # Not a round number: a membrane exactly on the threshold would count the rules > and >= as a difference.
    fidelity.add_argument("--std", type=positive, default=0.9, help="standard deviation of the input")
    of_runs = fidelity.add_mutually_exclusive_group()
    of_runs.add_argument("--run", type=Path, metavar="FOLDER", help="take the current of a finished run's layers")
    of_runs.add_argument(
        "--trained", type=Path, nargs="+", metavar="FOLDER", help="take what the neurons of finished runs have become"
    )
    fidelity.add_argument("--data-dir", help="of the run: default SNNREPRO_DATA, else data/")
    memory = command("memory", "peak memory of long sequences, forward and backward")
    several(memory, "--steps", [2**k for k in range(8, 17)], "T", "time-steps (default: 256 to 65536)")
    memory.add_argument("--size", type=positive_int, default=64, metavar="N", help="neurons")
    return top


def main() -> None:
    run(parser().parse_args())


if __name__ == "__main__":
    sys.exit(ended(main))
