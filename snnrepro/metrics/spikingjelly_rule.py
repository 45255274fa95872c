"""What spikingjelly 2.0.0's SimpleEnergyProfiler makes of our layers, and of its twins of our neurons.

It looks at every tensor operation. A product is MACs, or ACs where one factor holds nothing but 0 and 1. An addition is
an AC for each element, or only for its ones where both terms hold nothing but 0 and 1. Elementwise products and
divisions, which are a LIF's decay, comparisons and sigmoids cost nothing. So each twin's additions are made again here,
in its order; this is the form that runs on the CPU, for it does not look into its CUDA kernels.
Source: the behaviour of spikingjelly 2.0.0, activation_based.op_counter, in eval mode; the tests hold the two together.

Shapes: x `[T, B, *]` for neurons, `[N, *]` for layers, y what comes out. Counts are float64 scalars on the device of x,
summed over all of x.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from snnrepro.architectures.layers import Residual
from snnrepro.architectures.readout import Voting
from snnrepro.architectures.resnet import TimeEmbedding
from snnrepro.neurons import IF, KLIF, LIF, PLIF, PSN, MaskedPSN, SlidingPSN
from snnrepro.neurons.neuron import Neuron

Synaptic = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
Norm = nn.BatchNorm1d | nn.BatchNorm2d
Average = nn.AvgPool1d | nn.AvgPool2d
AdaptiveAverage = nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d

Counted = dict[str, Tensor | float]


def has_twin(neuron: Neuron) -> bool:
    """Whether spikingjelly has this neuron; of the integrate-and-fire neurons it has those that reset."""
    return isinstance(neuron, PSN | MaskedPSN | SlidingPSN) or keeps_potential(neuron)


def keeps_potential(neuron: Neuron) -> bool:
    """Whether its twin has a state that spikingjelly counts: a potential, not the inputs that a PSN keeps."""
    return isinstance(neuron, IF | LIF | PLIF | KLIF) and neuron.reset != "none"


def counted(module: nn.Module, x: Tensor, y: Tensor) -> Counted:
    """acs, macs, neuron_acs, neuron_macs, and bytes read and written: state_bytes, parameter_bytes; 0 where missing."""
    if isinstance(module, Synaptic):
        return _synapses(module, x, y)
    if isinstance(module, Neuron):
        return _neuron(module, x) if has_twin(module) else {}
    if isinstance(module, Norm):
        return {"acs": x.numel() + x.shape[1], "macs": x.numel() if module.affine else 0}
    if isinstance(module, Average):
        kernel = module.kernel_size
        return {"acs": y.numel() * ((math.prod(kernel) if isinstance(kernel, tuple) else kernel**2) - 1)}
    if isinstance(module, Voting) or (isinstance(module, AdaptiveAverage) and math.prod(y.shape[2:]) == 1):
        return {"acs": x.numel() - y.numel()}
    if isinstance(module, TimeEmbedding):
        return {"acs": _addition(_Term.of(x), _Term.of(module.embedding), y.numel())}
    return {}


def branch_hooks(residual: Residual, add: Callable[[Tensor], None]) -> list[Any]:
    """Hooks that `add` the ACs of summing a block's two branches; of a branch they keep two scalars."""
    terms: dict[str, _Term] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
            terms[name] = _Term.of(y)

        return hook

    def count(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
        shortcut = _Term.of(inputs[0]) if residual.shortcut is None else terms.pop("shortcut")
        add(_addition(terms.pop("body"), shortcut, y.numel()))

    handles = [residual.body.register_forward_hook(keep("body")), residual.register_forward_hook(count)]
    if residual.shortcut is not None:
        handles.append(residual.shortcut.register_forward_hook(keep("shortcut")))
    return handles


def products(layer: Synaptic, x: Tensor, weight: Tensor) -> Tensor:
    """The sum of all outputs of `layer` without bias, for x `[N, *]` and `weight` in place of its own."""
    inputs, weight = x.sum(0, dtype=torch.float64)[None], weight.double()
    if isinstance(layer, nn.Linear):
        return nn.functional.linear(inputs, weight).sum()
    total: Tensor = layer._conv_forward(inputs, weight, None).sum()
    return total.round()


class _Term(NamedTuple):
    """What the cost of an addition needs to know of one of its two tensors."""

    binary: Tensor
    ones: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Self:
        return cls(_is_binary(x), x.count_nonzero())


def _is_binary(x: Tensor) -> Tensor:
    return ((x == 0) | (x == 1)).all()


def _addition(a: _Term, b: _Term, elements: int) -> Tensor:
    """ACs of a sum of so many elements."""
    return torch.where(a.binary & b.binary, a.ones + b.ones, elements).double()


def _sum(a: Tensor, b: Tensor) -> Tensor:
    return _addition(_Term.of(a), _Term.of(b), a.numel())


def _product(
    weight: Tensor, x: Tensor, both: Tensor, of_spikes: Tensor, of_weight: Tensor, macs: int
) -> tuple[Tensor, Tensor]:
    """ACs and MACs of a product: ACs where x, weight or `both` hold nothing but 0 and 1, else `macs`."""
    w, s = _is_binary(weight), _is_binary(x)
    zero = torch.zeros_like(both)
    acs = torch.where(w & s, both, torch.where(s, of_spikes, torch.where(w, of_weight, zero)))
    return acs, torch.where(w | s, zero, zero + macs)


def _synapses(layer: Synaptic, x: Tensor, y: Tensor) -> Counted:
    weight = layer.weight
    rows, dense = y.numel() // len(weight), y.numel() * weight[0].numel()
    met = products(layer, x, torch.ones_like(weight))
    of_weight = weight.count_nonzero().double() * rows
    acs, macs = _product(weight, x, products(layer, x, weight), met, of_weight, dense)
    spikes = _is_binary(x)
    if not isinstance(layer, nn.Linear):
        # Its memory counter sums how many spikes reach each output, and its counter of additions counts that sum.
        acs = acs + torch.where(spikes, rows * layer.groups - 1, 0)
    reads = torch.where(spikes, met, torch.zeros_like(met) + dense)
    biases = 0 if layer.bias is None else y.numel()
    return {"acs": acs, "macs": macs, "parameter_bytes": (reads + biases) * weight.element_size()}


def _neuron(neuron: Neuron, x: Tensor) -> Counted:
    if isinstance(neuron, PSN):
        return _product_over_time(neuron.weight, x, 0)
    if isinstance(neuron, SlidingPSN):
        return _product_over_time(neuron.band(len(x)), x, 0)
    if isinstance(neuron, MaskedPSN):
        return _product_over_time(neuron.masked_weight(), x, _mask_additions(neuron))
    assert isinstance(neuron, IF | LIF | PLIF | KLIF)
    accesses = 2 * x.numel()  # each step reads and writes v
    return {"neuron_acs": _integrate_and_fire(neuron, x), "state_bytes": accesses * x.element_size()}


def _product_over_time(weight: Tensor, x: Tensor, more_acs: Tensor | float) -> Counted:
    """weight `[T, T]`: the whole of it, also what a mask or a short kernel leaves 0."""
    steps, neurons = len(x), x[0].numel()
    both = (weight.double() @ x.flatten(1).sum(1, dtype=torch.float64)).sum()
    of_spikes, of_weight = x.count_nonzero().double() * steps, weight.count_nonzero().double() * neurons
    acs, macs = _product(weight, x, both, of_spikes, of_weight, steps * steps * neurons)
    return {"neuron_acs": acs + more_acs, "neuron_macs": macs}


def _mask_additions(neuron: MaskedPSN) -> Tensor:
    """Until lambda is 1 the mask is mixed anew in every call: 1 - lambda, and the sum of two masks."""
    kept, all_ = neuron.lambda_ * neuron.mask, (1 - neuron.lambda_) * torch.ones_like(neuron.mask)
    return torch.where(neuron.lambda_ >= 1, 0, 1 + _sum(kept, all_))


def _integrate_and_fire(neuron: IF | LIF | PLIF | KLIF, x: Tensor) -> Tensor:
    """ACs of charge, fire and reset, step by step."""
    hard = neuron.reset == "hard"
    rest = neuron.v_reset if hard else 0.0
    scale = neuron.k if isinstance(neuron, KLIF) and neuron.scale_reset else 1.0
    current = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    v = torch.full_like(current[0], rest)
    acs = torch.zeros((), dtype=torch.float64, device=x.device)
    for step in current:
        h, charging = _charge(neuron, step, v, rest)
        spikes = (h >= neuron.v_threshold).to(h.dtype)
        h = h / scale
        if hard:
            kept, given = (1 - spikes) * h, spikes * neuron.v_reset
            v, resetting = kept + given, h.numel() + _sum(kept, given)
        else:
            released = spikes * (neuron.v_threshold / scale)
            v, resetting = h - released, _sum(h, released)
        comparing = h.numel()  # h - v_threshold
        acs = acs + charging + comparing + resetting
    return acs


def _charge(neuron: IF | LIF | PLIF | KLIF, x: Tensor, v: Tensor, rest: float) -> tuple[Tensor, Tensor]:
    """The membrane of one step, and its ACs."""
    if isinstance(neuron, IF):
        return v + x, _sum(v, x)
    decay = torch.sigmoid(neuron.w) if isinstance(neuron, PLIF) else 1 / neuron.tau
    above = v - rest  # made also where the rest is 0
    if neuron.decay_input:
        change = (x - above) * decay
        h, acs = v + change, _sum(x, above) + _sum(v, change)
    else:
        leak = above * decay
        h, acs = v - leak + x, _sum(v, leak) + _sum(v - leak, x)
    if isinstance(neuron, KLIF):
        h = torch.relu(neuron.k * h)
    return h, acs + above.numel()
