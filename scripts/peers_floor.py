"""Of the peers benchmark: how near each fused neuron comes to what the machine can do, in bytes and in products.

The fewest bytes: forward reads x and writes spikes; backward reads x and the upstream gradient and writes that of x.
The fewest products, of the neurons that weigh over time: one T-long sum an output forward; backward the same for x and
for the weights, causal ones half of it. What the machine can do is measured beside: copying x to memory that is held
and to new memory, as every output here is, and a large matrix product.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from benchmark_peers import SECONDS_A_CELL, dimensions, row_of, times_of
from benchmark_speed import say

from snnrepro.metrics.load import OtherWork
from snnrepro.metrics.speed import interleaved, passes, passes_check
from snnrepro.neurons import (
    ALIF,
    IPSU,
    LIF,
    MPEPSN,
    PLIF,
    PSN,
    PSU,
    RPSU,
    SPSN,
    Block,
    LIFNoReset,
    MaskedPSN,
    Neuron,
    SlidingPSN,
)

Row = dict[str, Any]
Cell = Callable[[], list[Row]]

# T and N: 2^24 values, 64 MiB in fp32.
SHAPES = ((16, 2**20), (64, 2**18), (512, 2**15))
MATRIX = 2048
# Values moved for each element.
MOVED = {"forward": 2, "forward_backward": 5}
NEURONS: dict[str, Callable[[int, int], Neuron]] = {
    "lif": lambda steps, size: LIF(),
    "plif": lambda steps, size: PLIF(),
    "lif_no_reset": lambda steps, size: LIFNoReset(),
    "alif": lambda steps, size: ALIF(num_features=size),
    "psu": lambda steps, size: PSU(),
    "block": lambda steps, size: Block(num_features=size),
    "spsn": lambda steps, size: SPSN(),
    "mpe_psn": lambda steps, size: MPEPSN(steps),
    "sliding_psn k=8": lambda steps, size: SlidingPSN(order=8),
    "psn": lambda steps, size: PSN(steps),
    "masked_psn": lambda steps, size: MaskedPSN(steps, lambda_=1.0),
    "ipsu": lambda steps, size: IPSU(steps),
    "rpsu": lambda steps, size: RPSU(steps),
}
CAUSAL_PRODUCTS = (MaskedPSN, IPSU, RPSU)


def floor_cells(arguments: argparse.Namespace, device: torch.device) -> list[Cell]:
    return [
        partial(floor_cell, name, steps, size, device, arguments.repeats) for steps, size in SHAPES for name in NEURONS
    ]


def products(neuron: Neuron, kind: str) -> int:
    """The fewest multiply-accumulates an element, 0 where they are no part of what takes the time."""
    if not isinstance(neuron, (PSN, *CAUSAL_PRODUCTS)):
        return 0
    steps = len(neuron.bias)
    once = steps // 2 if isinstance(neuron, CAUSAL_PRODUCTS) else steps
    return once if kind == "forward" else 3 * once


def floor_cell(name: str, steps: int, size: int, device: torch.device, repeats: int) -> list[Row]:
    """Times of one neuron beside a copy of its input and a matrix product.

    baseline_seconds: what its fewest bytes, or products, would take at their speed; value: that over its own time.
    """
    neuron = NEURONS[name](steps, size).to(device)
    if reason := neuron.not_fused(steps, device):
        say(f"left out: floor: {name} at T = {steps}: {reason}")
        return []
    # Not the reference: that of a product is a T x T loop of Python.
    other = next(form for form in neuron.backends if form != "fused")
    checked = passes_check(NEURONS[name](steps, 256).to(device), steps, device, other)
    x, matrix = torch.randn(steps, 1, size, device=device), torch.randn(MATRIX, MATRIX, device=device)
    held = torch.empty_like(x)
    limits: dict[str, Callable[[], object]] = {
        "copy": lambda: held.copy_(x),
        "copy to new memory": x.clone,
        "product": lambda: matrix @ matrix,
    }
    work = OtherWork()
    seconds: dict[str, list[float]] = {limit: [] for limit in limits}
    if checked:
        with work:
            seconds = interleaved({**passes(neuron, x), **limits}, device, min(repeats, 7), 2 * SECONDS_A_CELL)
    rows = []
    for kind, moved in MOVED.items():
        floors = {"copy": moved / 2, "copy to new memory": moved / 2}  # a copy moves two values an element
        if products(neuron, kind):
            floors["product"] = products(neuron, kind) * x.numel() / MATRIX**3
        for limit, times_as_much in floors.items():
            floor = {limit: [times_as_much * taken for taken in seconds[limit]]}
            rows.append(
                row_of(
                    "floor",
                    **{"own": name, "neuron": name.split()[0], "kernel": neuron.kernel(steps, device), "peer": limit},
                    **{"pass": kind, "checked": checked, "bytes": moved * x.numel() * x.element_size()},
                    **dimensions(steps, size, 1, "float32", device),
                    **times_of({**seconds, **floor}, kind, limit, work.share),
                )
            )
    return rows
