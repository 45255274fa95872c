"""The speed benchmarks of scripts/benchmark.py for one layer: neurons over T and N, and the Block paper's layers.

All candidates of one cell run interleaved on the same fresh random input. Where either of a pair fails its equality
check, its rows have no times and `checked` False.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from snnrepro.errors import UserError, did_you_mean, first_line

if TYPE_CHECKING:
    import torch
    from torch import nn

    from snnrepro.metrics.baselines import Baseline
    from snnrepro.neurons import Neuron

Row = dict[str, Any]
# How many cells there are, in words too, and the rows of each.
Cells = tuple[int, str, Iterator[list[Row]]]
Factories = dict[str, Any]

# The Block paper's layers: inputs, and the most spikes that an input is meant to have, arXiv 2205.15286 and its code.
INPUTS, MOST_SPIKES = 1000, 200
BLOCKS, LOOPS = ("block", "block_v1"), ("lif_single_spike", "lif_multi_spike")
# The most products over time, T x T x N, of which a reference written as loops is timed: at 2^28 the backward pass of
# PSN's takes 24 s on one thread.
MOST_PRODUCTS = 2**22


class Candidate(NamedTuple):
    """Something to time; auto: whether it is the form that its neuron takes by itself."""

    module: "nn.Module"
    checked: bool
    version: str | None = None
    auto: bool = False


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def device_of(arguments: argparse.Namespace) -> "torch.device":
    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda, but torch finds no GPU here: take --device cpu")
    return torch.device(arguments.device)


def known_neurons(names: list[str]) -> list[str]:
    from snnrepro.config.check import options

    for name in names:
        if name not in options("neuron"):
            raise UserError(f"unknown neuron {name!r}{did_you_mean(name, options('neuron'))}")
    return list(dict.fromkeys(names))


def factories_of(names: list[str]) -> Factories:
    """Constructors with the settings of configs/neuron."""
    from hydra.utils import instantiate

    from snnrepro.config.compose import compose_job

    return {name: instantiate(compose_job([f"neuron={name}"]).config.neuron, _convert_="all") for name in names}


def neurons(arguments: argparse.Namespace) -> Cells:
    """Every form of each neuron on [T, 1, N] against every baseline; a row for each pair, pass and cell."""
    from snnrepro.config.check import options

    device = device_of(arguments)
    factories = factories_of(known_neurons(arguments.neurons or options("neuron")))
    cells = len(arguments.dtypes) * len(arguments.steps) * len(arguments.sizes)
    return cells, f"{cells:,} cells of {len(factories)} neurons", neuron_cells(factories, arguments, device)


def neuron_cells(factories: Factories, arguments: argparse.Namespace, device: "torch.device") -> Iterator[list[Row]]:
    import torch

    from snnrepro.metrics import baselines

    makers = {"spikingjelly": baselines.spikingjelly_lif, "snntorch": baselines.snntorch_leaky}
    peers = [package for package in makers if baselines.installed(package)]
    for package in sorted(makers.keys() - peers):
        say(f"left out: {package} is not installed")
    for dtype_name, steps in itertools.product(arguments.dtypes, arguments.steps):
        dtype = getattr(torch, dtype_name)
        found = [baselines.loop(), baselines.fused_loop()]
        if arguments.compiled:
            found += baselines.compiled(steps, dtype, device, say)
        found += [makers[package]() for package in peers]
        shared = {base.name: ready for base in found if (ready := candidate(base, steps, dtype, device))}
        twins: dict[str, Candidate] = {}
        for name, factory in factories.items() if "spikingjelly" in peers else ():
            twin = baselines.spikingjelly_twin(factory(num_steps=steps, num_features=1))
            if twin is not None and (ready := candidate(twin, steps, dtype, device)):
                twins[name] = ready
        for size in arguments.sizes:
            forms = forms_of(factories, steps, size, device)
            x = torch.randn(steps, 1, size, device=device).to(dtype)
            yield [
                {"benchmark": "neurons"} | row | {"repeats": arguments.repeats}
                for row in neuron_cell(forms, shared, twins, x, arguments.repeats)
            ]


def candidate(baseline: "Baseline", steps: int, dtype: "torch.dtype", device: "torch.device") -> Candidate | None:
    """A baseline on the device, checked in fp32, then put in the dtype; None, and a line, where it cannot run in it."""
    import torch

    from snnrepro.metrics.baselines import agrees
    from snnrepro.metrics.speed import passes

    baseline.module.to(device)
    checked = agrees(baseline, torch.randn(steps, 1, 256, device=device))
    if baseline.version is not None:  # ours keep their parameters in fp32
        baseline.module.to(dtype)
    try:
        for run in passes(baseline.module, torch.randn(steps, 1, 256, device=device).to(dtype)).values():
            run()
    except RuntimeError as error:
        say(f"left out: {baseline.name} in {str(dtype)[6:]}: {first_line(error)[:200]}")
        return None
    return Candidate(baseline.module, checked, baseline.version)


def forms_of(factories: Factories, steps: int, size: int, device: "torch.device") -> dict[tuple[str, str], Candidate]:
    """Each neuron in each of its forms, checked against its reference."""
    from snnrepro.metrics.speed import passes_check

    forms, slow = {}, []
    for name, factory in factories.items():
        usual = factory(num_steps=steps, num_features=size)
        for form in usual.backends:
            if form == "reference" and reference_products(usual, steps, size) > MOST_PRODUCTS:
                slow.append(name)
                continue
            neuron = factory(num_steps=steps, num_features=size, backend=form).to(device)
            if form == "fused" and neuron.not_fused(steps, device):
                continue
            kernel = neuron.kernel(steps, device)
            auto = kernel == usual.kernel(steps, device)
            forms[name, kernel] = Candidate(neuron, passes_check(neuron, steps, device), auto=auto)
    if slow:
        say(
            f"left out: at T = {steps}, N = {size:,} the references of {', '.join(slow)}, T x T loops of seconds a pass"
        )
    return forms


def reference_products(neuron: "Neuron", steps: int, size: int) -> float:
    """Multiply-accumulates of a layer whose every output sees most inputs of its neuron; 0 of one that recurs."""
    macs = neuron.operations(steps).macs
    return macs * size if macs >= steps**2 / 4 else 0.0


def neuron_cell(
    forms: dict[tuple[str, str], Candidate],
    shared: dict[str, Candidate],
    twins: dict[str, Candidate],
    x: "torch.Tensor",
    repeats: int,
) -> Iterator[Row]:
    """All candidates on x `[T, 1, N]` in turn."""
    from snnrepro.metrics.load import OtherWork
    from snnrepro.metrics.speed import compared, interleaved, passes

    candidates = {
        **{f"form {name} {kernel}": found for (name, kernel), found in forms.items()},
        **{f"baseline {name}": found for name, found in shared.items()},
        **{f"twin {name}": found for name, found in twins.items()},
    }
    runs = {
        f"{name} {kind}": run
        for name, found in candidates.items()
        if found.checked
        for kind, run in passes(found.module, x).items()
    }
    with OtherWork() as work:
        seconds = interleaved(runs, x.device, repeats)
    for (name, kernel), form in forms.items():
        against = {base: (f"baseline {base}", found) for base, found in shared.items()}
        if name in twins:
            against["spikingjelly_twin"] = (f"twin {name}", twins[name])
        for base, (key, baseline) in against.items():
            for kind in ("forward", "forward_backward"):
                own = seconds.get(f"form {name} {kernel} {kind}", [])
                other = seconds.get(f"{key} {kind}", [])
                yield {
                    "neuron": name,
                    "kernel": kernel,
                    "auto": form.auto,
                    "baseline": base,
                    "pass": kind,
                    **shape_of(x),
                    **compared(own, other),
                    "checked": form.checked and baseline.checked,
                    "others_cpu_share": work.share,
                    "peer_version": baseline.version,
                }


def shape_of(x: "torch.Tensor") -> Row:
    steps, batch, size = x.shape
    return {"T": steps, "N": size, "batch": batch, "dtype": str(x.dtype)[6:], "device_type": x.device.type}


def layers(arguments: argparse.Namespace) -> Cells:
    """The Block paper's layers, one Linear and one layer of neurons: both versions of Block against its loops, fp32."""
    device = device_of(arguments)
    factories = factories_of([*BLOCKS, *LOOPS])
    cells = list(itertools.product(arguments.batches, arguments.steps, arguments.sizes))
    rows = (layer_cell(factories, *cell, device, arguments.repeats) for cell in cells)
    return len(cells), f"{len(cells):,} cells", rows


def layer_cell(
    factories: Factories, batch: int, steps: int, size: int, device: "torch.device", repeats: int
) -> list[Row]:
    """Forward, backward and both of x `[T, B, 1000]` -> Linear -> neurons `[T, B, N]`, the loss the spikes' sum."""
    import torch
    from torch import nn

    from snnrepro.metrics.baselines import Baseline, agrees, of_neuron
    from snnrepro.metrics.load import OtherWork
    from snnrepro.metrics.speed import compared, forward_then_backward, passes_check

    # The paper's loops are stepped through, whatever else this package could do with them.
    forms = {name: {"backend": "reference"} if name in LOOPS else {} for name in factories}
    neurons = {
        name: factory(num_steps=steps, num_features=size, **forms[name]).to(device)
        for name, factory in factories.items()
    }
    exact = {name: passes_check(neurons[name], steps, device) for name in BLOCKS}
    # Block is the single-spike loop in other words; the multi-spike one goes on after the first spike.
    single, current = of_neuron(neurons["lif_single_spike"]), torch.randn(steps, 1, size, device=device)
    same = {name: agrees(Baseline(name, neurons[name], single), current) for name in BLOCKS}
    x = poisson_spikes(steps, batch).to(device)
    linear = nn.Linear(INPUTS, size, device=device)
    with OtherWork() as work:
        modules = {name: nn.Sequential(linear, neuron) for name, neuron in neurons.items()}
        seconds = forward_then_backward(modules, x, repeats)
    rows = []
    for name, base, kind in itertools.product(BLOCKS, LOOPS, ("forward", "backward", "total")):
        checked = exact[name] and (same[name] or base == "lif_multi_spike")
        rows.append(
            {
                "benchmark": "layers",
                "neuron": name,
                "kernel": neurons[name].kernel(steps, device),
                "auto": True,
                "baseline": base,
                "pass": kind,
                **shape_of(x),
                "N": size,
                "inputs": INPUTS,
                **compared(seconds[name][kind] if checked else [], seconds[base][kind]),
                "checked": checked,
                "others_cpu_share": work.share,
                "peer_version": None,
                "repeats": repeats,
            }
        )
    return rows


def poisson_spikes(steps: int, batch: int) -> "torch.Tensor":
    """Spikes `[T, B, 1000]`, at most one a step: each sample has a rate of its own, 0 to MOST_SPIKES over all T."""
    import torch

    rate = torch.rand(batch, 1) * MOST_SPIKES / steps
    return torch.poisson(rate.expand(steps, batch, INPUTS)).clamp_(max=1)
