"""What other packages' counters would give for a network, on the inputs on which ours counts (operations.py).

NeuroBench 2.3.0, syops 0.0.5 and spikingjelly 2.0.0 leave out, or count twice, different things. Here their rules stand
side by side, oddities included, and each row says what they are. The packages are not needed: each rule is written
from what its package does, and the tests hold it to the package where that is installed.

Shapes: the network is called on x `[T, B, *]`. Layers without memory see all time-steps in one call, and a package
decides between AC and MAC for each layer and call, so for each batch, and not for each step.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnrepro.architectures.layers import Residual
from snnrepro.architectures.readout import LeakyIntegrator, Voting
from snnrepro.architectures.resnet import TimeEmbedding
from snnrepro.metrics.hooks import ForwardHooks
from snnrepro.metrics.operations import connections
from snnrepro.metrics.spikingjelly_rule import (
    AdaptiveAverage,
    Average,
    Norm,
    Synaptic,
    branch_hooks,
    counted,
    has_twin,
    keeps_potential,
    products,
)
from snnrepro.neurons import IF, KLIF, LIF, PLIF, PSN, MaskedPSN, SlidingPSN
from snnrepro.neurons.neuron import Neuron

# M. Horowitz, ISSCC 2014, 45 nm, fp32; memory as spikingjelly prices it.
MAC_PJ, AC_PJ, BYTE_PJ = 4.6, 0.9, 24.96
_OUR_PRICES = f"{AC_PJ} pJ an AC, {MAC_PJ} a MAC; the package has none"

_Pool = Average | AdaptiveAverage | nn.MaxPool1d | nn.MaxPool2d
_Seen = Synaptic | Neuron | Norm | _Pool | Voting | TimeEmbedding


class CounterRow(NamedTuple):
    """One counter's figures per sample, over all its time-steps; None where it has no such figure."""

    counter: str
    acs: float  # outside the neurons
    macs: float
    dense: float | None  # all operations, as if no input were 0
    neuron_acs: float | None
    neuron_macs: float | None
    state_bytes: float | None  # read and written, over all steps; not those kept
    energy_pj: float
    prices: str
    leaves_out: str
    also_counts: str  # what is counted though it is no operation of the network, or is folded elsewhere


class OtherCounters(ForwardHooks):
    """Context in which the three rules count `network` (called on `[T, B, *]`, in eval mode), over all batches.

    Of a forward pass nothing is kept but sums, and nothing is read from the device before `rows`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.samples = 0
        self._jelly = _SpikingJelly()
        self._rules = (_NeuroBench(), _Syops(), self._jelly)

    def _attach(self) -> list[Any]:
        def count_samples(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.samples += inputs[0].shape[1]

        def see(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
            with torch.no_grad():
                for rule in self._rules:
                    rule.see(module, inputs[0], y)

        # Closures: a bound method would be copied, and the network with it, where another counter copies a layer.
        handles: list[Any] = [self.network.register_forward_pre_hook(count_samples)]
        for module in self.network.modules():
            if isinstance(module, _Seen):
                handles.append(module.register_forward_hook(see))
            elif isinstance(module, Residual):
                handles.extend(branch_hooks(module, lambda acs: self._jelly.add(acs=acs)))
        return handles

    def rows(self) -> list[CounterRow]:
        """One row for each package."""
        return [rule.row(self.samples, self.network) for rule in self._rules]


class _Rule:
    """Named sums over all calls, which stay on their device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor | float] = {}

    def add(self, **values: Tensor | float) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def per_sample(self, samples: int, *names: str) -> list[float]:
        return [float(self._sums.get(name, 0.0)) / max(1, samples) for name in names]


class _NeuroBench(_Rule):
    """SynapticOperations: each input that is not 0 with each weight that is not 0 where they meet, no padding.

    A layer that sees nothing but -1, 0 and 1 in a call makes ACs, else MACs. The package adds up in fp32, exact below
    2^24 operations of a layer and call; here the sum is exact.
    """

    def see(self, module: nn.Module, x: Tensor, y: Tensor) -> None:
        if not isinstance(module, Synaptic):
            return
        effective = products(module, x != 0, module.weight != 0)
        spikes, zero = ((x == 0) | (x.abs() == 1)).all(), torch.zeros_like(effective)
        self.add(
            acs=torch.where(spikes, effective, zero),
            macs=torch.where(spikes, zero, effective),
            dense=len(x) * connections(module, tuple(x.shape[1:])),
        )

    def row(self, samples: int, network: nn.Module) -> CounterRow:
        acs, macs, dense = self.per_sample(samples, "acs", "macs", "dense")
        return CounterRow(
            counter="NeuroBench 2.3.0",
            acs=acs,
            macs=macs,
            dense=dense,
            neuron_acs=None,
            neuron_macs=None,
            state_bytes=None,
            energy_pj=acs * AC_PJ + macs * MAC_PJ,
            prices=_OUR_PRICES,
            leaves_out=_sentence(
                _arithmetic(network, lambda neuron: False),
                "zero inputs of layers on real values, weights of 0",
                _if_biases(network, "biases"),
                _if_any(network, Norm, "normalisation"),
                _if_any(network, _Pool, "pooling"),
                _if_any(network, Residual, "additions of branches"),
                "memory",
            ),
            also_counts="",
        )


class _Syops(_Rule):
    """A layer's dense operations, or their product with the mean input as ACs.

    ACs where a call's input holds at most two values, both from 0 to 1: not only 0 and 1.
    """

    def see(self, module: nn.Module, x: Tensor, y: Tensor) -> None:
        if isinstance(module, Neuron):
            if _known_to_syops(module):
                self.add(neuron_acs=x.numel(), dense=x.numel())
            return
        if (dense := _syops_dense(module, x, y)) is None:
            return
        low, high = x.aminmax()
        spikes = ((x == low) | (x == high)).all() & (low >= 0) & (high <= 1)
        rate = (x.float().sum() / x.numel()).double()  # as it has it; a sum in fp16 would end at 65,504
        acs, macs = torch.where(spikes, dense * rate, 0), torch.where(spikes, 0, torch.full_like(rate, dense))
        self.add(acs=acs, macs=macs, dense=dense)

    def row(self, samples: int, network: nn.Module) -> CounterRow:
        acs, macs, dense, neuron_acs = self.per_sample(samples, "acs", "macs", "dense", "neuron_acs")
        return CounterRow(
            counter="syops 0.0.5",
            acs=acs,
            macs=macs,
            dense=dense,
            neuron_acs=neuron_acs,
            neuron_macs=0.0,
            state_bytes=None,
            energy_pj=(acs + neuron_acs) * AC_PJ + macs * MAC_PJ,
            prices=_OUR_PRICES,
            leaves_out=_sentence(
                _arithmetic(network, _known_to_syops),
                _if_any(network, IF | LIF | PLIF, "all but one AC a step of IF, LIF and PLIF"),
                _if_biases(network, "biases of a Linear but once a call"),
                _if_any(network, Residual, "additions of branches"),
                "memory",
            ),
            also_counts=_sentence(
                "products with padding",
                _if_any(network, Norm, "normalisation"),
                _if_any(network, _Pool, "pooling, in MACs where its input is not spikes"),
            ),
        )


def _known_to_syops(neuron: Neuron) -> bool:
    return isinstance(neuron, IF | LIF | PLIF) and keeps_potential(neuron)


def _syops_dense(module: nn.Module, x: Tensor, y: Tensor) -> int | None:
    """Operations of one call as if no input were 0; None for a layer that it does not know."""
    if isinstance(module, nn.Linear):
        return x.numel() * module.out_features + (0 if module.bias is None else module.out_features)
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        each = math.prod(module.kernel_size) * module.in_channels * (module.out_channels // module.groups)
        return y.numel() // module.out_channels * (each + (0 if module.bias is None else module.out_channels))
    if isinstance(module, Norm):
        return x.numel() * (2 if module.affine else 1)
    return x.numel() if isinstance(module, _Pool) else None


class _SpikingJelly(_Rule):
    """SimpleEnergyProfiler: spikingjelly_rule.py."""

    def see(self, module: nn.Module, x: Tensor, y: Tensor) -> None:
        self.add(**counted(module, x, y))

    def row(self, samples: int, network: nn.Module) -> CounterRow:
        names = ("acs", "macs", "neuron_acs", "neuron_macs", "state_bytes", "parameter_bytes")
        acs, macs, neuron_acs, neuron_macs, state, parameters = self.per_sample(samples, *names)
        return CounterRow(
            counter="spikingjelly 2.0.0",
            acs=acs,
            macs=macs,
            dense=None,
            neuron_acs=neuron_acs,
            neuron_macs=neuron_macs,
            state_bytes=state,
            energy_pj=(acs + neuron_acs) * AC_PJ + (macs + neuron_macs) * MAC_PJ + (state + parameters) * BYTE_PJ,
            prices=f"its own: {AC_PJ} pJ an AC, {MAC_PJ} a MAC, {BYTE_PJ} a byte of weights, biases and potentials",
            leaves_out=_sentence(
                _arithmetic(network, has_twin),
                _if_any(network, LIF | PLIF | KLIF, "the decay of LIF, PLIF and KLIF"),
                _if_any(network, PSN | MaskedPSN | SlidingPSN, "the inputs and biases of PSNs"),
                _if_biases(network, "adding biases"),
                "memory of inputs and spikes",
            ),
            also_counts=_sentence(
                "products with padding in MACs",
                _if_any(network, MaskedPSN | SlidingPSN, "the whole T x T of masked and sliding PSNs"),
                _if_any(network, IF | LIF | PLIF | KLIF, "subtracting the threshold, and a rest of 0"),
                _if_any(network, Norm, "normalisation"),
                _if_any(network, _Pool, "averages"),
                _if_any(network, Residual, "additions of branches"),
                "what its memory counter adds up for a convolution on spikes",
            ),
        )


def _arithmetic(network: nn.Module, known: Callable[[Neuron], bool]) -> str:
    """Whose own arithmetic is left out; empty where none is."""
    unknown = {
        type(module).__name__
        for module in network.modules()
        if isinstance(module, LeakyIntegrator) or (isinstance(module, Neuron) and not known(module))
    }
    return f"the own arithmetic of {', '.join(sorted(unknown))}" if unknown else ""


def _if_any(network: nn.Module, kinds: Any, text: str) -> str:
    return text if any(isinstance(module, kinds) for module in network.modules()) else ""


def _if_biases(network: nn.Module, text: str) -> str:
    return text if any(isinstance(m, Synaptic) and m.bias is not None for m in network.modules()) else ""


def _sentence(*parts: str) -> str:
    text = "; ".join(part for part in parts if part)
    return f"{text[0].upper()}{text[1:]}."
