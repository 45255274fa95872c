"""Wall-clock time, measured so that it means something.

Warm-up, device synchronised before every reading, repeats of all candidates interleaved, median reported; a neuron's
speed-up counts only after its form has just passed an equality check against its reference.
"""

import copy
import statistics
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from snnrepro.neurons.lif import LIF
from snnrepro.neurons.neuron import Neuron

# Elements of the largest input that a neuron is timed on: 16 MiB in fp32.
MAX_ELEMENTS = 2**22


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    candidates: dict[str, Callable[[], object]], device: torch.device, repeats: int
) -> dict[str, list[float]]:
    """Seconds of each call, `repeats` rounds of all candidates in turn after one round of warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(repeats + 1):
        for name, run in candidates.items():
            synchronize(device)
            start = time.perf_counter()
            run()
            synchronize(device)
            if round_number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def equals_reference(neuron: Neuron, x: Tensor, tolerance: float = 1e-4) -> bool:
    """Whether the form that runs gives the reference's membrane, and its spikes away from the threshold."""
    if neuron.kernel == "reference":
        return True
    reference = copy.deepcopy(neuron)
    reference.backend = "reference"
    with torch.no_grad():
        h, expected = neuron.membrane(x), reference.membrane(x)
        clear = (expected - neuron.v_threshold).abs() > tolerance
        same_spikes = torch.equal(neuron(x)[clear], reference(x)[clear])
    return same_spikes and torch.allclose(h, expected, rtol=tolerance, atol=tolerance)


def neuron_against_loop(
    neuron: Neuron, shape: tuple[int, ...], device: torch.device, repeats: int = 5
) -> dict[str, float]:
    """Median seconds of `neuron` and of the step-by-step LIF on fresh input of `shape` `[T, B, *]`.

    Keys: neuron and lif, each with _forward and _forward_backward. Empty where the equality check fails.
    """
    loop = LIF().to(device)
    x = torch.randn(shape, device=device)
    if not equals_reference(neuron, x[:, :1].reshape(shape[0], -1)[:, None, :256]):
        return {}

    def forward(module: nn.Module) -> Callable[[], object]:
        def run() -> Tensor:
            with torch.no_grad():
                spikes: Tensor = module(x)
            return spikes

        return run

    def forward_backward(module: nn.Module) -> Callable[[], object]:
        def run() -> None:
            with torch.enable_grad():
                module(x.requires_grad_(True)).sum().backward()
            x.grad = None

        return run

    candidates = {
        f"{name}_{kind.__name__}": kind(module)
        for name, module in (("neuron", neuron), ("lif", loop))
        for kind in (forward, forward_backward)
    }
    with torch.inference_mode(False):
        seconds = interleaved(candidates, device, repeats)
    neuron.zero_grad()
    return {name: statistics.median(values) for name, values in seconds.items()}


def network_against_loop(network: nn.Module, x: Tensor) -> dict[str, float]:
    """speed/neuron_vs_lif_loop (forward and backward) and ..._forward of a network's neurons, at its own T and sizes.

    x `[T, B, *]` is one real batch; samples are dropped from it where a layer would exceed MAX_ELEMENTS. A ratio above
    1 means faster than the loop: sum of the loop's medians over sum of the neuron's. Empty where a check fails.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    neurons = {name: m for name, m in network.named_modules() if isinstance(m, Neuron)}

    def remember(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, inputs: shapes.update({name: tuple(inputs[0].shape)})

    handles = [m.register_forward_pre_hook(remember(name)) for name, m in neurons.items()]
    with torch.no_grad():
        network(x[:, :1])
    for handle in handles:
        handle.remove()
    total: dict[str, float] = {}
    cache: dict[tuple[int, ...], dict[str, float]] = {}
    for name, (steps, _, *rest) in shapes.items():
        per_sample = steps * int(torch.Size(rest).numel())
        shape = (steps, max(1, min(x.shape[1], MAX_ELEMENTS // per_sample)), *rest)
        if shape not in cache:
            cache[shape] = neuron_against_loop(neurons[name], shape, x.device)
        if not cache[shape]:
            return {}
        for key, seconds in cache[shape].items():
            total[key] = total.get(key, 0.0) + seconds
    if not total:
        return {}
    return {
        "speed/neuron_vs_lif_loop": total["lif_forward_backward"] / total["neuron_forward_backward"],
        "speed/neuron_vs_lif_loop_forward": total["lif_forward"] / total["neuron_forward"],
    }


def inference_samples_per_second(network: nn.Module, batches: Iterable[Tensor], seconds: float = 1.0) -> float:
    """Samples per second of `network` on prepared batches `[T, B, *]`, for about `seconds`, after one for warm-up.

    Pass an endless iterable (itertools.cycle) where the data are few.
    """
    samples, elapsed = 0, 0.0
    with torch.no_grad():
        for number, x in enumerate(batches):
            if number == 0:
                network(x)
            synchronize(x.device)
            start = time.perf_counter()
            network(x)
            synchronize(x.device)
            elapsed += time.perf_counter() - start
            samples += x.shape[1]
            if elapsed > seconds:
                break
    return samples / elapsed if elapsed else 0.0
