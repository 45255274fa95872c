"""What the neurons are timed against: the step-by-step LIF, the same compiled, the Block paper's convolutions, and the
neurons of other libraries.

Every baseline maps x `[T, B, N]` to spikes `[T, B, N]`, and is held to the neuron of this package that it claims to be
before it is timed.
"""

import copy
import importlib
import importlib.metadata
import importlib.util
import logging
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnrepro.errors import first_line
from snnrepro.metrics.speed import passes, synchronize
from snnrepro.neurons import IF, KLIF, LIF, PLIF, PSN, Block, MaskedPSN, Neuron, SlidingPSN, load_spikingjelly
from snnrepro.neurons.stepped import charge, reset_membrane

# Spikes and the membrane's distance from the threshold, each `[T, B, N]`.
Expected = Callable[[Tensor], tuple[Tensor, Tensor]]

# Compiling the whole loop costs half a second a step on a CPU: 14 s at T = 16, 45 s at T = 64, where forward and
# backward at N = 65,536 were three times as slow as uncompiled. Longer loops are timed as one compiled step.
LONGEST_COMPILED_LOOP = 16


class Baseline(NamedTuple):
    """A candidate, and what its spikes must be."""

    name: str
    module: nn.Module
    expected: Expected
    version: str | None = None  # of the library that it comes from


def of_neuron(neuron: Neuron) -> Expected:
    """What a neuron of this package gives."""

    def expected(x: Tensor) -> tuple[Tensor, Tensor]:
        return neuron(x), neuron.membrane(x) - neuron.threshold(x[0])

    return expected


def agrees(baseline: Baseline, x: Tensor, tolerance: float = 1e-3) -> bool:
    """Whether the spikes on x `[T, B, N]` are those expected, of each neuron until it first comes near its threshold.

    Nearer than `tolerance` rounding decides, and what follows may differ by a reset.
    """
    with torch.no_grad():
        spikes, distance = baseline.expected(x)
        clear = (distance.abs() > tolerance).cumprod(0).bool()
        return bool(clear.any()) and torch.equal(baseline.module(x)[clear], spikes[clear])


def trains_alike(neuron: Neuron, peer: nn.Module, x: Tensor, tolerance: float = 1e-3) -> bool:
    """Whether `peer` gives the neuron's spikes on x `[T, B, N]`, and its gradients to x and to the parameters.

    Parameters are paired in their order. Spikes are compared as in `agrees`. The gradients are those of the spikes'
    sum, weighted at random, over the neurons that never come near their threshold; each may differ by `tolerance` of
    its largest value.
    """
    weight = torch.rand_like(x)
    with torch.no_grad():
        near = (neuron.membrane(x) - neuron.threshold(x[0])).abs() <= tolerance
        clear = (~near).cumprod(0).bool()
        weight *= ~near.any(0)
        del near
    spikes, gradients = [], []
    with torch.enable_grad():
        for module in (neuron, peer):
            current = x.detach().clone().requires_grad_(True)
            output = module(current)
            learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
            gradients.append(torch.autograd.grad((output * weight).sum(), [current, *learned]))
            spikes.append(output.detach())
            del output
    return (
        bool(clear.any())
        and torch.equal(spikes[0][clear], spikes[1][clear])
        and len(gradients[0]) == len(gradients[1])
        and all(
            bool((theirs.view_as(ours) - ours).abs().max() <= tolerance * ours.abs().max())
            for ours, theirs in zip(*gradients, strict=True)
        )
    )


def loop() -> Baseline:
    """The step-by-step LIF at its defaults: tau 2, threshold 1, soft reset, detached."""
    lif = LIF(backend="reference")
    return Baseline("loop", lif, of_neuron(lif))


def fused_loop() -> Baseline:
    """The same LIF in one kernel: what is left of a speed-up once the loop is fused too."""
    return Baseline("fused_loop", LIF(), of_neuron(LIF(backend="reference")))


class CompiledStep(nn.Module):
    """One step of that LIF through torch.compile, called T times; half precision is computed in fp32 as there."""

    def __init__(self) -> None:
        super().__init__()
        lif = LIF()

        def step(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            h = charge(x.to(v.dtype), v, 1 / lif.tau, 0.0, lif.decay_input)
            spikes = lif.surrogate(h - lif.v_threshold)
            return spikes.to(x.dtype), reset_membrane(h, spikes.detach(), lif.reset, lif.v_threshold, lif.v_reset)

        self._step = torch.compile(step)

    def forward(self, x: Tensor, any_size: bool = False) -> Tensor:
        """`any_size`: compile for any N where that is still to be done."""
        v = torch.zeros(x.shape[1:], dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        spikes = []
        for current in x:
            if any_size:
                _mark(current, v)
            s, v = self._step(current, v)
            spikes.append(s)
        return torch.stack(spikes)


class CompiledLoop(nn.Module):
    """That LIF's whole loop through torch.compile."""

    def __init__(self) -> None:
        super().__init__()
        self._lif = torch.compile(LIF(backend="reference"))

    def forward(self, x: Tensor, any_size: bool = False) -> Tensor:
        """`any_size`: compile for any N where that is still to be done."""
        if any_size:
            _mark(x)
        spikes: Tensor = self._lif(x)
        return spikes


def _mark(*tensors: Tensor) -> None:
    """Have the last dimension compiled as a variable: the default takes a size as a constant until it meets another.

    dynamic=True would do so with T and the time constant too, and fails (torch 2.11).
    """
    for tensor in tensors:
        torch._dynamo.mark_dynamic(tensor, tensor.ndim - 1)


class _AnySize(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        spikes: Tensor = self.module(x, any_size=True)
        return spikes


def compiled(num_steps: int, dtype: torch.dtype, device: torch.device, say: Callable[[str], None]) -> list[Baseline]:
    """compiled_loop, up to LONGEST_COMPILED_LOOP steps, and compiled_step, both compiled here for any N.

    `say` gets a line for each: how long that took, or why it failed and is left out.
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no GPU
    torch.compiler.reset()  # the number of variants kept of one function is limited; beyond it, it runs uncompiled
    modules: dict[str, Callable[[], nn.Module]] = {"compiled_step": CompiledStep}
    if num_steps <= LONGEST_COMPILED_LOOP:
        modules["compiled_loop"] = CompiledLoop
    found = []
    for name, make in modules.items():
        module = make()
        example = torch.randn(num_steps, 1, 256, device=device).to(dtype)
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler's own
                for run in passes(_AnySize(module), example).values():
                    run()
        except RuntimeError as error:
            say(f"left out: {name} at T = {num_steps} did not compile: {first_line(error)[:200]}")
            continue
        synchronize(device)
        say(f"{name} at T = {num_steps}, {str(dtype)[6:]}: compiled in {time.perf_counter() - start:.1f} s")
        found.append(Baseline(name, module, of_neuron(LIF())))
    return found


class FromRest(nn.Module):
    """A neuron of spikingjelly, in multi-step mode, that starts every call from rest."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self.node = node

    def rest(self) -> None:
        """Forget what the last call left."""
        if hasattr(self.node, "reset"):  # PSN keeps nothing
            self.node.reset()

    def forward(self, x: Tensor) -> Tensor:
        self.rest()
        spikes: Tensor = self.node(x)
        return spikes


def spikingjelly_lif() -> Baseline:
    """spikingjelly's LIFNode with the settings of `loop`."""
    node = _spikingjelly("neuron").LIFNode(**_resetting(LIF()), tau=2.0)
    return Baseline("spikingjelly_lif", FromRest(node), of_neuron(LIF()), version("spikingjelly"))


def spikingjelly_twin(neuron: Neuron) -> Baseline | None:
    """spikingjelly's own version of a neuron with the same settings, None where it has none or it is the LIF.

    `neuron` is left as it is; what the twin must give is what a copy of it gives with the twin's weights.
    """
    theirs, atan = _spikingjelly("neuron"), _spikingjelly("surrogate").ATan()
    node: Any
    match neuron:
        case IF():
            node = theirs.IFNode(**_resetting(neuron))
        case PLIF():
            node = theirs.ParametricLIFNode(**_resetting(neuron), decay_input=neuron.decay_input)
        case KLIF():
            settings = {"tau": neuron.tau, "decay_input": neuron.decay_input, "scale_reset": neuron.scale_reset}
            node = theirs.KLIFNode(**_resetting(neuron), **settings)
        case PSN():
            node = theirs.PSN(neuron.num_steps, atan)
        case MaskedPSN():
            node = theirs.MaskedPSN(neuron.order, neuron.num_steps, float(neuron.lambda_), atan, step_mode="m")
        case SlidingPSN():
            node = theirs.SlidingPSN(neuron.order, surrogate_function=atan, step_mode="m")
        case _:
            return None
    same = copy.deepcopy(neuron)
    node = node.to(next((p.device for p in same.parameters()), torch.device("cpu")))
    if not isinstance(same, IF):  # which has no weights
        load_spikingjelly(same, node)
    return Baseline("spikingjelly_twin", FromRest(node), of_neuron(same), version("spikingjelly"))


def spikingjelly_of(neuron: Neuron) -> Baseline | None:
    """`spikingjelly_twin`, and for the LIF its LIFNode with the same settings."""
    if not isinstance(neuron, LIF):
        return spikingjelly_twin(neuron)
    settings = {"tau": neuron.tau, "decay_input": neuron.decay_input}
    node = _spikingjelly("neuron").LIFNode(**_resetting(neuron), **settings)
    return Baseline("spikingjelly_twin", FromRest(node), of_neuron(copy.deepcopy(neuron)), version("spikingjelly"))


def _resetting(neuron: IF | LIF | PLIF | KLIF) -> dict[str, Any]:
    """Threshold, reset and surrogate as spikingjelly takes them: v_reset None for a soft reset."""
    return {
        "v_threshold": neuron.v_threshold,
        "v_reset": None if neuron.reset == "soft" else neuron.v_reset,
        "detach_reset": neuron.detach_reset,
        "surrogate_function": _spikingjelly("surrogate").ATan(),
        "step_mode": "m",
    }


def _spikingjelly(part: str) -> Any:
    return importlib.import_module(f"spikingjelly.activation_based.{part}")


class SteppedLeaky(nn.Module):
    """snnTorch's Leaky in the loop over time that its users write; learn_beta: its decay is a parameter."""

    def __init__(self, learn_beta: bool = False) -> None:
        super().__init__()
        snntorch: Any = importlib.import_module("snntorch")
        atan = snntorch.surrogate.atan(alpha=2.0)
        self.leaky = snntorch.Leaky(beta=0.5, spike_grad=atan, learn_beta=learn_beta)

    def forward(self, x: Tensor) -> Tensor:
        membrane, spikes = torch.zeros_like(x[0]), []
        for current in x:
            s, membrane = self.leaky(current, membrane)
            spikes.append(s)
        return torch.stack(spikes)


def delayed_reset(x: Tensor) -> tuple[Tensor, Tensor]:
    """The LIF of snnTorch's Leaky, beta 0.5: the reset is subtracted a step later, not decayed; input not scaled.

    h[t] = 0.5 h[t-1] + x[t] - s[t-1],   s[t] = 1[h[t] > 1]
    Returns the spikes and h - 1, `[T, B, N]`.
    """
    h, s, membrane = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
    for current in x:
        h = 0.5 * h + current - s
        s = (h > 1).to(x.dtype)
        membrane.append(h)
    distance = torch.stack(membrane) - 1
    return (distance > 0).to(x.dtype), distance


def snntorch_leaky(learn_beta: bool = False) -> Baseline:
    """snnTorch's Leaky at its defaults with beta 0.5, which is no neuron of this package but of the same cost."""
    return Baseline("snntorch_leaky", SteppedLeaky(learn_beta), delayed_reset, version("snntorch"))


class BlockConvolution(nn.Module):
    """Block, version 2, as its paper defines it: two causal convolutions over time and a selection.

        V[t] = sum_{k<=t} beta^(t-k) x[k]
        F[t] = 1[V[t] > v_threshold]
        z[t] = sum_{k<=t} (t-k+1) F[k]
        s[t] = z[t] where it is 1, else 0; every z passes its gradient

    `beta` [F]: a parameter, as the given block's. Cost: O(T^2).
    Source: Taylor, King, Harper, arXiv 2205.15286.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.beta = nn.Parameter(block.beta.detach().clone())
        self.v_threshold, self.surrogate = block.v_threshold, block.surrogate

    def forward(self, x: Tensor) -> Tensor:
        """`[T, B, F]` -> spikes `[T, B, F]`."""
        lag = torch.arange(len(x), device=x.device, dtype=x.dtype)
        beta = self.beta.clamp(0, 1).to(x.dtype)
        v = causal_convolution(x, beta[:, None] ** lag)
        z = causal_convolution(self.surrogate(v - self.v_threshold, strict=True), (lag + 1).expand(x.shape[2], -1))
        return z - torch.where(z == 1, 0, z).detach()


def causal_convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """y[t] = sum_lag kernel[lag] x[t-lag] of each feature; x, y `[T, B, F]`, kernel `[F, T]`, its first lag 0."""
    padded = nn.functional.pad(x.permute(1, 2, 0), (len(x) - 1, 0))
    y = nn.functional.conv1d(padded, kernel.flip(1)[:, None], groups=len(kernel))
    return y.permute(2, 0, 1)


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def version(package: str) -> str:
    return importlib.metadata.version(package)
