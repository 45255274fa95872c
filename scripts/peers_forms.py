"""Of the peers benchmark: cost over T, the Block against its paper's forms, and a whole network's training step."""

import argparse
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmark_networks import Network
from benchmark_peers import NEEDS, SECONDS_A_CELL, dimensions, row_of, side_by_side, times_of
from benchmark_speed import say
from hydra.utils import instantiate
from torch import nn

from snnrepro.architectures.layers import TimeLayer
from snnrepro.config.compose import compose_job
from snnrepro.metrics import baselines
from snnrepro.metrics.load import OtherWork
from snnrepro.metrics.speed import input_shapes, interleaved, passes_check
from snnrepro.neurons import PSU, SPSN, Block, LIFNoReset, LIFSingleSpike, Neuron, load_spikingjelly

Row = dict[str, Any]
Cell = Callable[[], list[Row]]

# Cost of a neuron-step: T x N the same, first the long, then the short.
COST_SHAPES = ((4096, 2**12), (64, 2**18))
COST_NEURONS: dict[str, Callable[[int], Neuron]] = {
    "psu": lambda size: PSU(),
    "lif_no_reset": lambda size: LIFNoReset(),
    "block": lambda size: Block(num_features=size),
    "spsn": lambda size: SPSN(),
}
# PSU against its T x T form: T and N; 1 GiB for each T x T matrix in fp32, of which a dozen live at once.
DENSE_SHAPE = (16384, 256)
DENSE_MATRICES = 12

# The Block paper's grid, arXiv 2205.15286.
BLOCK_STEPS, BLOCK_SIZES, BLOCK_BATCHES = (8, 32, 128, 512, 2048), (100, 200, 400, 700, 1000), (16, 64, 128)
BLOCK_SECONDS = 1.0  # for the rounds of one comparison in one cell: there are more than a hundred
# Without --full: elements of the largest input. The loop's graph keeps some 16 values of each.
MOST_ELEMENTS = 2**24
BYTES_AN_ELEMENT = 64
# Products T x T x B x N of the largest convolution: seconds a pass on two cores.
MOST_CONVOLVED = 2**33

NETWORK = ("dataset=seq_cifar10", "architecture.channels=32")
NETWORK_BATCH = 128
NETWORK_NEURONS = ("lif", "psn")
# A spike near its threshold may fall either way, and what follows it moves: so much of each layer's spikes is the same,
# so much of the logits is within a part of their standard deviation, and so large is the cosine of all gradients.
SPIKES_ALIKE, LOGITS_ALIKE, LOGITS_WITHIN, GRADIENT_ALIKE = 0.99, 0.9, 0.05, 0.99


def cost_cells(arguments: argparse.Namespace, device: torch.device) -> list[Cell]:
    cells: list[Cell] = [partial(cost_cell, name, device, arguments.repeats) for name in COST_NEURONS]
    wanted = DENSE_MATRICES * 4 * DENSE_SHAPE[0] ** 2
    if device.type == "cpu" and (free := free_memory()) is not None and free < wanted:
        say(f"left out: cost: psu's T x T form takes about {wanted / 2**30:.0f} GiB, {free / 2**30:.0f} are free")
        return cells
    return [*cells, partial(dense_cell, device, arguments.repeats)]


def cost_cell(name: str, device: torch.device, repeats: int) -> list[Row]:
    """One neuron at long T beside itself at short T, forward and backward.

    value: the cost of a neuron-step at long T over that at short T.
    """
    (long, narrow), (short, wide) = COST_SHAPES
    make = COST_NEURONS[name]
    checked = all(passes_check(make(256).to(device), steps, device) for steps in (long, short))
    neuron, itself = make(narrow).to(device), make(wide).to(device)
    x, other = torch.randn(long, 1, narrow, device=device), torch.randn(short, 1, wide, device=device)
    measured = side_by_side((neuron, x), (itself, other), repeats, checked, ("forward_backward",))
    times = measured["forward_backward"]
    times["value"] = times["seconds"] / times["baseline_seconds"] if times["seconds"] else None
    return [
        row_of(
            "cost",
            **{"own": name, "neuron": name, "kernel": neuron.kernel(long, device), "peer": "itself, short"},
            **{"pass": "forward_backward", "checked": checked, "note": f"short: T={short}, N={wide}"},
            **dimensions(long, narrow, 1, "float32", device),
            **times,
        )
    ]


def dense_cell(device: torch.device, repeats: int) -> list[Row]:
    """The PSU beside its T x T form, which is its reference here too."""
    steps, size = DENSE_SHAPE
    neuron, dense = PSU().to(device), PSU(backend="dense").to(device)
    x = torch.randn(steps, 1, size, device=device)
    checked = baselines.trains_alike(neuron, dense, x)
    measured = side_by_side((neuron, x), (dense, x), repeats, checked, ("forward_backward",))
    return [
        row_of(
            "cost",
            **{"own": "psu", "neuron": "psu", "kernel": neuron.kernel(steps, device), "peer": "T x T product"},
            **{"pass": "forward_backward", "checked": checked},
            **dimensions(steps, size, 1, "float32", device),
            **measured["forward_backward"],
        )
    ]


def free_memory() -> int | None:
    """Bytes that could be allocated now, None where there is no /proc."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def block_cells(arguments: argparse.Namespace, device: torch.device) -> list[Cell]:
    cells: list[Cell] = []
    left_out = {"too large without --full": 0, "too large for the free memory": 0}
    loops_only = 0
    free = free_memory() if device.type == "cpu" else None
    for steps, size, batch in itertools.product(BLOCK_STEPS, BLOCK_SIZES, BLOCK_BATCHES):
        elements = steps * size * batch
        if elements > MOST_ELEMENTS and not arguments.full:
            left_out["too large without --full"] += 1
        elif free is not None and elements * BYTES_AN_ELEMENT > free:
            left_out["too large for the free memory"] += 1
        else:
            convolution = elements * steps <= MOST_CONVOLVED
            loops_only += not convolution
            cells.append(partial(block_cell, steps, size, batch, convolution, device, arguments.repeats))
    for why, count in left_out.items():
        if count:
            say(f"left out: block: {count} of {len(cells) + sum(left_out.values())} cells of the paper's grid, {why}")
    if loops_only:
        say(f"left out: block: the convolution in {loops_only} of {len(cells)} cells, seconds a pass or more")
    return cells


def block_cell(steps: int, size: int, batch: int, convolution: bool, device: torch.device, repeats: int) -> list[Row]:
    """Block on x `[T, B, N]` beside the convolutions of its paper's definition and beside the single-spike loop."""
    block = Block(num_features=size).to(device)
    # By its reference it stays a loop over time, whatever form `auto` may take.
    loop = LIFSingleSpike(num_features=size, backend="reference").to(device)
    x = torch.randn(steps, batch, size, device=device)
    exact = passes_check(block, min(steps, 512), device)
    forms: dict[str, tuple[nn.Module, bool]] = {
        "loop": (loop, exact and baselines.agrees(baselines.Baseline("loop", block, baselines.of_neuron(loop)), x))
    }
    if convolution:
        written = baselines.BlockConvolution(block)
        forms["convolution"] = (written, exact and baselines.trains_alike(block, written, x))
    return [
        row_of(
            "block",
            **{"own": "block", "neuron": "block", "kernel": block.kernel(steps, device), "peer": peer},
            **{"pass": pass_, "checked": checked},
            **dimensions(steps, size, batch, "float32", device),
            **times,
        )
        for peer, (module, checked) in forms.items()
        for pass_, times in side_by_side((block, x), (module, x), repeats, checked, budget=BLOCK_SECONDS).items()
    ]


def network_cells(arguments: argparse.Namespace) -> list[Cell]:
    return [partial(network_cell, name, arguments.device, arguments.repeats) for name in NETWORK_NEURONS]


def network_cell(name: str, device_type: str, repeats: int) -> list[Row]:
    """A training step of the sequential-CIFAR net beside the same net, same weights, with spikingjelly's neurons."""
    words = [*NETWORK, f"neuron={name}"]
    own, other = Network(words, device_type, NETWORK_BATCH), Network(words, device_type, NETWORK_BATCH)
    swap_neurons(own, other, words)
    other.x, other.y = own.x, own.y
    checked = own.checked() and step_alike(own, other)
    own.network.eval()
    shapes = input_shapes(own.network, own.x)
    size = sum(int(torch.Size(rest).numel()) for _, _, (_, _, *rest) in shapes)
    own.model.train()
    other.model.train()
    work = OtherWork()
    seconds: dict[str, list[float]] = {}
    if checked:
        with work:
            runs = {"own": own.train, "other": other.train}
            seconds = interleaved(runs, own.fabric.device, repeats, 5 * SECONDS_A_CELL)
    return [
        row_of(
            "network",
            **{"own": name, "neuron": name, "kernel": " ".join(own.kernels), "peer": NEEDS["network"]},
            **{"peer_version": baselines.version("spikingjelly"), "pass": "training step", "checked": checked},
            **{"note": f"{' '.join(NETWORK)}; N: all neurons of the net"},
            **dimensions(own.data.num_steps, size, own.batch, own.settings.precision, own.fabric.device),
            **times_of(seconds, "own", "other", work.share),
        )
    ]


class TwinLayer(baselines.FromRest, TimeLayer):
    """spikingjelly's neuron as a layer of a network, which gives it `[T, B, *]`."""


def swap_neurons(own: Network, other: Network, words: list[str]) -> None:
    """Put spikingjelly's neurons into `other`, and its weights of both neurons and layers into `own`.

    words: what both were built from.
    """
    pairs = list(zip(own.neurons, other.neurons, strict=True))
    names = {module: name for name, module in other.network.named_modules()}
    for ours, theirs in pairs:
        twin = baselines.spikingjelly_of(theirs)
        assert twin is not None
        if any(True for _ in ours.parameters()):
            load_spikingjelly(ours, twin.module.node)  # type: ignore[arg-type]
        parent, _, attribute = names[theirs].rpartition(".")
        setattr(other.network.get_submodule(parent), attribute, TwinLayer(twin.module.node).to(other.fabric.device))
    other.neurons = []
    # The optimiser holds the parameters of the neurons that are gone.
    fresh = instantiate(compose_job(words).config.optimizer, _convert_="all")(other.network.parameters())
    other.model, other.optimizer = other.fabric.setup(other.network, fresh)


def step_alike(own: Network, other: Network) -> bool:
    """Whether the first training step of both is the same: spikes of every layer, logits and all gradients.

    Of untrained nets the last layer may be silent, so that logits alone would say nothing.
    """
    ours, theirs = first_step(own), first_step(other)
    spikes = zip(ours.spikes, theirs.spikes, strict=True)
    near = (ours.logits - theirs.logits).abs() <= LOGITS_WITHIN * theirs.logits.std()
    cosine = torch.nn.functional.cosine_similarity(ours.gradient, theirs.gradient, dim=0)
    return (
        any(bool(layer.any()) for layer in ours.spikes)
        and all(float((a == b).float().mean()) >= SPIKES_ALIKE for a, b in spikes)
        and float(near.float().mean()) >= LOGITS_ALIKE
        and float(cosine) >= GRADIENT_ALIKE
    )


class Step(NamedTuple):
    """What a training step gives: spikes `[T, B, *]` of each layer of neurons, logits `[T, B, K]`, gradients `[P]`."""

    spikes: list[torch.Tensor]
    logits: torch.Tensor
    gradient: torch.Tensor


def first_step(network: Network) -> Step:
    network.model.train()
    spikes: list[torch.Tensor] = []
    layers = [layer for layer in network.network.modules() if isinstance(layer, Neuron | TwinLayer)]
    handles = [layer.register_forward_hook(lambda _, inputs, out: spikes.append(out.detach())) for layer in layers]
    logits = network.model(network.x)
    for handle in handles:
        handle.remove()
    loss = network.loss(logits, network.y, network.readout)
    gradients = torch.autograd.grad(loss, list(network.network.parameters()))
    return Step(spikes, logits.detach().float(), torch.cat([gradient.flatten() for gradient in gradients]))
