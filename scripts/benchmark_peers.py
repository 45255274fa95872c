"""The benchmark of scripts/benchmark.py beside other packages: this package's neurons as `auto` runs them.

Both sides of a comparison run interleaved on the same fresh random input, after a check that they give the same
spikes and gradients; one that fails gets rows without times. Here: spikingjelly's neurons, times and peak memory, and
snntorch's; peers_forms.py has cost over T, the Block and the whole network. peers_bars.py judges.
"""

import argparse
import itertools
import os
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from benchmark_speed import Cells, device_of, say
from peers_bars import SECTIONS
from torch import Tensor, nn

from snnrepro.errors import first_line
from snnrepro.metrics import baselines
from snnrepro.metrics.load import OtherWork
from snnrepro.metrics.speed import compared, interleaved, passes, passes_check
from snnrepro.neurons import LIF, PLIF, PSN, MaskedPSN, Neuron, SlidingPSN, load_spikingjelly

Row = dict[str, Any]
Cell = Callable[[], list[Row]]

# Seconds for the rounds of one comparison in one cell: rounds get fewer, but not below 3.
SECONDS_A_CELL = 1.5
# A shorter measurement is a few clock ticks of 10 ms: too few to say what other processes took.
LEAST_SECONDS = 0.5
# Of the smallest input [T, 1, N] whose peak memory is compared.
LEAST_ELEMENTS = 2**20
# The PSNs' references are T x T loops of Python, whatever their order: minutes beyond this T.
LONGEST_REFERENCE = 128
ORDERS = (2, 8, 32)
PASSES = ("forward", "forward_backward")
NEEDS = {"neurons": "spikingjelly", "memory": "spikingjelly", "network": "spikingjelly", "snntorch": "snntorch"}
INSTALL = {"spikingjelly": "spikingjelly==2.0.0 loguru", "snntorch": "snntorch==1.0.0"}
TIMES = tuple(compared([], []))
COLUMNS = (
    *("benchmark", "section", "own", "neuron", "order", "kernel", "peer", "peer_version", "pass"),
    *("T", "N", "batch", "dtype", "device_type", *TIMES, "bytes", "baseline_bytes"),
    *("value", "checked", "note", "others_cpu_share", "repeats"),
)
NO_SCRATCH = "without what compiled kernels allocate inside"

# Of each comparison: its name, the neuron's, and the neuron at T; None where it is not defined there.
Kind = tuple[str, str, Callable[[int], Neuron | None]]


def sliding(order: int) -> Kind:
    def make(steps: int) -> Neuron | None:
        return SlidingPSN(steps, order=order) if order <= steps else None

    return f"sliding_psn k={order}", "sliding_psn", make


RESETTING: tuple[Kind, ...] = (("lif", "lif", lambda steps: LIF()), ("plif", "plif", lambda steps: PLIF()))
KINDS: tuple[Kind, ...] = (
    ("psn", "psn", lambda steps: PSN(steps)),
    ("masked_psn k=T", "masked_psn", lambda steps: MaskedPSN(steps, lambda_=1.0)),
    ("masked_psn k<=32", "masked_psn", lambda steps: MaskedPSN(steps, order=min(32, steps), lambda_=1.0)),
    *(sliding(order) for order in ORDERS),
    *RESETTING,
)


def peers(arguments: argparse.Namespace) -> Cells:
    """The chosen sections whose peers are installed; a line for each that is skipped."""
    from peers_floor import floor_cells
    from peers_forms import block_cells, cost_cells, network_cells

    device = device_of(arguments)
    chosen = []
    for section in [name for name in SECTIONS if name in (arguments.only or SECTIONS)]:
        package = NEEDS.get(section)
        if package is None or baselines.installed(package):
            chosen.append(section)
        else:
            command = f"pip install --no-deps {INSTALL[package]}"
            say(f"skipped: {section}: {package} is not installed; install it with: {command}")
    cells: dict[str, list[Cell]] = {
        "neurons": spikingjelly_cells(arguments, device, {"neurons", "memory"} & set(chosen)),
        "snntorch": snntorch_cells(arguments, device) if "snntorch" in chosen else [],
        "cost": cost_cells(arguments, device) if "cost" in chosen else [],
        "block": block_cells(arguments, device) if "block" in chosen else [],
        "network": network_cells(arguments) if "network" in chosen else [],
        "floor": floor_cells(arguments, device) if "floor" in chosen else [],
    }
    every = [cell for of_section in cells.values() for cell in of_section]
    words = f"{len(every):,} cells of {', '.join(chosen)}" if every else ""
    return len(every), words, (cell() for cell in every)


def row_of(section: str, **values: Any) -> Row:
    """A row with every column, None where `values` has none."""
    row = dict.fromkeys(COLUMNS) | {"benchmark": "peers", "section": section} | values
    assert len(row) == len(COLUMNS), row.keys() - set(COLUMNS)
    return row


def side_by_side(
    own: tuple[nn.Module, Tensor],
    other: tuple[nn.Module, Tensor],
    repeats: int,
    checked: bool,
    kinds: tuple[str, ...] = PASSES,
    budget: float = SECONDS_A_CELL,
) -> dict[str, Row]:
    """Times of each pass of two modules, each on its x `[T, B, *]`, interleaved; empty ones where not `checked`."""
    seconds: dict[str, list[float]] = {}
    work = OtherWork()
    if checked:
        sides = {"own": passes(*own), "other": passes(*other)}
        runs = {f"{side} {kind}": sides[side][kind] for kind in kinds for side in sides}
        with work:
            seconds = interleaved(runs, own[1].device, repeats, budget)
    return {kind: times_of(seconds, f"own {kind}", f"other {kind}", work.share) for kind in kinds}


def times_of(seconds: dict[str, list[float]], own: str, other: str, share: float | None) -> Row:
    """Columns of two candidates of `interleaved`; share: other work's part of the processor meanwhile."""
    times = compared(seconds.get(own, []), seconds.get(other, []))
    if sum(map(sum, seconds.values())) < LEAST_SECONDS:
        share = None
    rounds = len(seconds.get(own, []))
    return {**times, "value": times["speedup"], "others_cpu_share": share, "repeats": rounds}


def dimensions(steps: int, size: int, batch: int, dtype: str, device: torch.device) -> Row:
    return {"T": steps, "N": size, "batch": batch, "dtype": dtype, "device_type": device.type}


@cache
def equals_own_reference(name: str, steps: int, device: torch.device) -> bool:
    """Whether the form equals its reference; True above LONGEST_REFERENCE, where the peer alone is the reference."""
    neuron = next(make for label, _, make in KINDS if label == name)(steps)
    assert neuron is not None
    if isinstance(neuron, PSN | MaskedPSN | SlidingPSN) and steps > LONGEST_REFERENCE:
        return True
    return passes_check(neuron.to(device), steps, device)


def grid(arguments: argparse.Namespace, kinds: tuple[Kind, ...]) -> Iterator[tuple[str, int, int, Kind]]:
    for dtype, steps, size, kind in itertools.product(arguments.dtypes, arguments.steps, arguments.sizes, kinds):
        if kind[2](steps) is not None:
            yield dtype, steps, size, kind


def spikingjelly_cells(arguments: argparse.Namespace, device: torch.device, sections: set[str]) -> list[Cell]:
    """Times and peak memory of a pair share a cell, and its check."""
    cells: list[Cell] = []
    largest = 0
    for dtype, steps, size, kind in grid(arguments, KINDS) if sections else ():
        largest = max(largest, steps * size)
        wanted = sections - ({"memory"} if steps * size < LEAST_ELEMENTS else set())
        if wanted:
            cells.append(partial(spikingjelly_cell, dtype, steps, size, kind, wanted, device, arguments.repeats))
    if "memory" in sections and largest < LEAST_ELEMENTS:
        say(f"left out: memory: no cell has T x N of at least {LEAST_ELEMENTS:,}")
    return cells


def spikingjelly_cell(
    dtype: str, steps: int, size: int, kind: Kind, sections: set[str], device: torch.device, repeats: int
) -> list[Row]:
    """Times and peak memory of one neuron beside spikingjelly's own, with its weights, on one fresh `[T, 1, N]`."""
    label, name, make = kind
    neuron = make(steps)
    assert neuron is not None
    twin = baselines.spikingjelly_of(neuron)
    assert twin is not None
    if any(True for _ in neuron.parameters()):
        load_spikingjelly(neuron, twin.module.node)  # type: ignore[arg-type]
    neuron.to(device)
    peer = twin.module.to(device)
    x = torch.randn(steps, 1, size, device=device)
    same: Row = {
        **{"own": label, "neuron": name, "order": getattr(neuron, "order", None)},
        **{"kernel": neuron.kernel(steps, device), "peer": "spikingjelly", "peer_version": twin.version},
        **dimensions(steps, size, 1, dtype, device),
    }

    def measure() -> list[Row]:
        checked = equals_own_reference(label, steps, device) and baselines.trains_alike(neuron, peer, x)
        current = x.to(getattr(torch, dtype))
        own, other = (neuron, current), (peer.to(current.dtype), current)
        rows = []
        if "neurons" in sections:
            measured = side_by_side(own, other, repeats, checked)
            rows += [
                row_of("neurons", **same, checked=checked, **{"pass": pass_}, **times)
                for pass_, times in measured.items()
            ]
        if "memory" in sections:
            rows.append(row_of("memory", **same, checked=checked, **peaks(neuron, peer, current, checked)))
        return rows

    kinds = [("neurons", pass_) for pass_ in PASSES] + [("memory", "forward_backward")]
    return or_failed(measure, same, [kind for kind in kinds if kind[0] in sections])


def or_failed(measure: Callable[[], list[Row]], same: Row, kinds: list[tuple[str, str]]) -> list[Row]:
    """The measured rows; where a side cannot run, for its dtype or for memory, rows without values, unchecked.

    kinds: their sections and passes.
    """
    try:
        return measure()
    except RuntimeError as error:
        why = first_line(error)[:200]
        say(f"failed: {same['own']} / {same['peer']} at T = {same['T']}, N = {same['N']:,} in {same['dtype']}: {why}")
        return [row_of(section, **same, checked=False, note=why, **{"pass": pass_}) for section, pass_ in kinds]


def peaks(own: nn.Module, other: nn.Module, x: Tensor, checked: bool) -> Row:
    """Peak memory of a forward and backward pass of each, as columns."""
    row: Row = {"pass": "forward_backward", "note": NO_SCRATCH if x.device.type == "cpu" else None}
    if not checked:
        return row
    if isinstance(other, baselines.FromRest):
        other.rest()  # so that nothing from before is freed, uncounted, in the pass
    first, second = (peak_allocated(passes(module, x)["forward_backward"], x.device) for module in (own, other))
    return row | {"bytes": first, "baseline_bytes": second, "value": first / second}


def peak_allocated(run: Callable[[], object], device: torch.device) -> int:
    """The most bytes that torch held during `run` above what it held before.

    On a CPU the running sum of the profiler's allocations; it does not see what a compiled kernel allocates inside.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # that there is no GPU
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True, acc_events=True) as profiler:
        run()
    inner: Any = profiler.profiler
    changes = [event for event in inner.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return int(max(itertools.accumulate((event.nbytes() for event in changes), initial=0)))


def snntorch_cells(arguments: argparse.Namespace, device: torch.device) -> list[Cell]:
    return [partial(snntorch_cell, *cell, device, arguments.repeats) for cell in grid(arguments, RESETTING)]


def snntorch_cell(dtype: str, steps: int, size: int, kind: Kind, device: torch.device, repeats: int) -> list[Row]:
    """Times of a resetting neuron beside snntorch's Leaky, which is no neuron of this package but of the same cost.

    So each is held to its own definition.
    """
    label, name, make = kind
    neuron = make(steps)
    assert neuron is not None
    neuron.to(device)
    leaky = baselines.snntorch_leaky(learn_beta=name == "plif")
    leaky.module.to(device)
    x = torch.randn(steps, 1, size, device=device)
    same: Row = {
        **{"own": label, "neuron": name, "kernel": neuron.kernel(steps, device)},
        **{"peer": "snntorch", "peer_version": leaky.version},
        **dimensions(steps, size, 1, dtype, device),
    }

    def measure() -> list[Row]:
        checked = equals_own_reference(label, steps, device) and baselines.agrees(leaky, x)
        current = x.to(getattr(torch, dtype))
        measured = side_by_side((neuron, current), (leaky.module.to(current.dtype), current), repeats, checked)
        return [
            row_of("snntorch", **same, checked=checked, **{"pass": pass_}, **times) for pass_, times in measured.items()
        ]

    return or_failed(measure, same, [("snntorch", pass_) for pass_ in PASSES])
