"""Wall-clock time, measured so that it means something.

Warm-up, device synchronised before every reading, repeats of all candidates interleaved, median reported; a neuron's
speed-up counts only after its form has just passed an equality check against its reference.
"""

import copy
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from snnrepro.neurons.lif import LIF
from snnrepro.neurons.neuron import Neuron

# Elements of the largest input that a neuron is timed on: 16 MiB in fp32.
MAX_ELEMENTS = 2**22
# Seconds for which inference is timed.
INFERENCE_SECONDS = 1.0


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    candidates: Mapping[str, Callable[[], object]], device: torch.device, repeats: int, budget: float | None = None
) -> dict[str, list[float]]:
    """Seconds of each call, `repeats` rounds of all candidates in turn after one round of warm-up.

    budget: seconds that all rounds may take together, by the warm-up's; slow candidates get fewer rounds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    began, round_number = time.perf_counter(), 0
    while round_number <= repeats:
        for name, run in candidates.items():
            synchronize(device)
            start = time.perf_counter()
            run()
            synchronize(device)
            if round_number:
                seconds[name].append(time.perf_counter() - start)
        if round_number == 0 and budget is not None:
            repeats = rounds_within(budget, time.perf_counter() - began, repeats)
        round_number += 1
    return seconds


def rounds_within(budget: float, of_round: float, most: int) -> int:
    """How many rounds of `of_round` seconds to run in `budget` seconds: `most`, or an odd number of at least 3."""
    fitting = int(budget / of_round) if of_round > 0 else most
    return most if fitting >= most else min(most, max(3, fitting - 1 + fitting % 2))


def equals_reference(neuron: Neuron, x: Tensor, tolerance: float = 1e-3, other: str = "reference") -> bool:
    """Whether the form that runs gives the reference's membrane, its spikes away from the threshold, and its gradient.

    x `[T, B, *]`. The gradient is that of the spikes' sum, weighted at random, with respect to x. other: take this form
    for the reference, where that would take minutes.
    """
    if neuron.kernel(len(x), x.device) == other:
        return True
    forms = {"fast": copy.deepcopy(neuron), "reference": copy.deepcopy(neuron)}
    forms["reference"].backend = other
    weight = torch.rand_like(x)
    h, spikes, gradient = {}, {}, {}
    with torch.enable_grad():
        for name, form in forms.items():
            current = x.clone().requires_grad_(True)
            # Spikes first: a stochastic neuron's membrane belongs to the draw of the last forward.
            spikes[name] = form(current)
            h[name] = form.membrane(current).detach()
            (gradient[name],) = torch.autograd.grad((spikes[name] * weight).sum(), current)
    clear = (h["reference"] - neuron.threshold(x[0])).abs() > tolerance
    return (
        torch.equal(spikes["fast"][clear], spikes["reference"][clear])
        and torch.allclose(h["fast"], h["reference"], rtol=tolerance, atol=tolerance)
        and torch.allclose(gradient["fast"], gradient["reference"], rtol=tolerance, atol=tolerance)
    )


def passes_check(neuron: Neuron, num_steps: int, device: torch.device, other: str = "reference") -> bool:
    """`equals_reference` on fresh input `[num_steps, 1, F]`, in fp32: a backward pass under autocast would round.

    F is the neuron's own feature count where it has parameters for each, else 256.
    """
    features = neuron.num_features if neuron.per_feature else 256
    with torch.inference_mode(False), torch.autocast(device.type, enabled=False):
        return equals_reference(neuron, torch.randn(num_steps, 1, features or 256, device=device), other=other)


def neuron_against_loop(
    neuron: Neuron, shape: tuple[int, ...], device: torch.device, repeats: int = 7
) -> dict[str, float]:
    """Median seconds of `neuron` and of the step-by-step LIF on fresh input of `shape` `[T, B, *]`, interleaved.

    Keys: neuron and lif, each with _forward and _forward_backward. Empty where the equality check fails.
    """
    if not passes_check(neuron, shape[0], device):
        return {}
    with torch.inference_mode(False), torch.autocast(device.type, enabled=False):
        x = torch.randn(shape, device=device)
        candidates = {
            f"{name}_{kind}": run
            for name, module in {"neuron": copy.deepcopy(neuron), "lif": LIF(backend="reference").to(device)}.items()
            for kind, run in passes(module, x).items()
        }
        seconds = interleaved(candidates, device, repeats)
    return {name: statistics.median(repeated) for name, repeated in seconds.items()}


def passes(module: nn.Module, x: Tensor) -> dict[str, Callable[[], object]]:
    """What is timed of a module on x `[T, B, *]`: forward without gradients; forward_backward.

    The upstream gradient is one for each output, as a layer in a network has it, and made beforehand.
    """
    return {
        "forward": partial(_forward, module, x),
        "forward_backward": partial(_forward_backward, module, x.clone().requires_grad_(True), torch.rand_like(x)),
    }


def _forward(module: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        module(x)


def _forward_backward(module: nn.Module, x: Tensor, upstream: Tensor) -> None:
    with torch.enable_grad():
        module(x).backward(upstream)
    x.grad = None


def forward_then_backward(
    modules: Mapping[str, nn.Module], x: Tensor, repeats: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds of the two halves of a training pass of each module on x `[T, B, *]`, interleaved as above.

    Keys: the module's name; then forward (with gradients), backward (of the output's sum) and total.
    """
    seconds: dict[str, dict[str, list[float]]]
    seconds = {name: {kind: [] for kind in ("forward", "backward", "total")} for name in modules}
    for round_number in range(repeats + 1):
        for name, module in modules.items():
            synchronize(x.device)
            start = time.perf_counter()
            output = module(x)
            synchronize(x.device)
            middle = time.perf_counter()
            output.sum().backward()
            synchronize(x.device)
            end = time.perf_counter()
            module.zero_grad()
            if round_number:
                found = {"forward": middle - start, "backward": end - middle, "total": end - start}
                for kind, value in found.items():
                    seconds[name][kind].append(value)
    return seconds


def compared(own: list[float], baseline: list[float]) -> dict[str, float | None]:
    """Seconds of two candidates of the same interleaved rounds: medians, extremes, and how many times as fast.

    speedup is the ratio of the medians, speedup_low and speedup_high the smallest and largest ratio within one round,
    between which it lies. All None where `own` or `baseline` is empty, as after a failed check.
    """
    names = ("seconds", "seconds_min", "seconds_max")
    keys = [*names, *(f"baseline_{name}" for name in names), "speedup", "speedup_low", "speedup_high"]
    if not own or not baseline:
        return dict.fromkeys(keys)
    values = [f(seconds) for seconds in (own, baseline) for f in (statistics.median, min, max)]
    ratios = [b / a for a, b in zip(own, baseline, strict=True)]
    return dict(zip(keys, [*values, values[3] / values[0], min(ratios), max(ratios)], strict=True))


def network_against_loop(network: nn.Module, x: Tensor) -> dict[str, float]:
    """speed/neuron_vs_lif_loop (forward and backward) and ..._forward of a network's neurons, at its own T and sizes.

    x `[T, B, *]` is one real batch; samples are dropped from it where a layer would exceed MAX_ELEMENTS. A ratio above
    1 means faster than the loop: sum of the loop's medians over sum of the neuron's. Empty where a check fails; layers
    of the same neuron and shape are timed once.
    """
    shapes = input_shapes(network, x)
    total: dict[str, float] = {}
    timed: dict[object, dict[str, float]] = {}
    for _, neuron, (steps, _, *rest) in shapes:
        if not passes_check(neuron, steps, x.device):
            return {}
        shape = timed_shape((steps, x.shape[1], *rest))
        key = (type(neuron), neuron.kernel(steps, x.device), shape)
        if key not in timed:
            timed[key] = neuron_against_loop(neuron, shape, x.device)
        for name, seconds in timed[key].items():
            total[name] = total.get(name, 0.0) + seconds
    if not total:
        return {}
    return {
        "speed/neuron_vs_lif_loop": total["lif_forward_backward"] / total["neuron_forward_backward"],
        "speed/neuron_vs_lif_loop_forward": total["lif_forward"] / total["neuron_forward"],
    }


def timed_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """`[T, B, *]` with as many of the B samples as MAX_ELEMENTS allows, at least one."""
    steps, batch, *rest = shape
    return (steps, max(1, min(batch, MAX_ELEMENTS // (steps * int(torch.Size(rest).numel())))), *rest)


def input_shapes(network: nn.Module, x: Tensor) -> list[tuple[str, Neuron, tuple[int, ...]]]:
    """Name, neuron and input shape `[T, 1, *]` of every neuron layer when x `[T, B, *]` goes in."""
    shapes: list[tuple[str, Neuron, tuple[int, ...]]] = []

    def remember(name: str, neuron: Neuron) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, inputs: shapes.append((name, neuron, tuple(inputs[0].shape)))

    neurons = {name: m for name, m in network.named_modules() if isinstance(m, Neuron)}
    handles = [neuron.register_forward_pre_hook(remember(name, neuron)) for name, neuron in neurons.items()]
    try:
        with torch.no_grad():
            network(x[:, :1])
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def inference_samples_per_second(network: nn.Module, batches: Iterable[Tensor]) -> float:
    """Samples per second of `network` on prepared batches `[T, B, *]`, for INFERENCE_SECONDS, after one for warm-up.

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
            if elapsed > INFERENCE_SECONDS:
                break
    return samples / elapsed if elapsed else 0.0
