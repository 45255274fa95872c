"""Arithmetic of a network on real inputs, counted layer by layer in the forward pass.

A synaptic layer (Linear, Conv) that receives spikes makes one accumulate (AC) for every input spike and every synapse
it meets, its fan-out, with padding and stride exact. A layer whose input is not binary (pixels, averages after pooling)
makes one multiply-accumulate (MAC) for every connection, zero inputs included. Biases, pooling and batch norm (folded
into the weights before it) are not counted. The own arithmetic of a neuron, or of a leaky integrator that reads out,
is its `operations`.
"""

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from snnrepro.architectures.readout import LeakyIntegrator
from snnrepro.metrics.hooks import ForwardHooks
from snnrepro.neurons.neuron import Neuron


class Counts(NamedTuple):
    """Per sample, over all its time-steps."""

    synaptic_acs: float
    synaptic_macs: float
    neuron_acs: float
    neuron_macs: float
    state_bytes: float


class _Synapses:
    """One synaptic layer: what came in, and how far each input reaches."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.fan_out: Tensor | None = None
        self.acs = 0.0
        self.dense = 0.0
        self.binary = True

    def see(self, x: Tensor) -> None:
        """x `[T*B, *]`, the layer's input."""
        if self.fan_out is None or self.fan_out.shape != x.shape[1:]:
            self.fan_out = fan_out(self.layer, x)
        self.binary = self.binary and bool(((x == 0) | (x == 1)).all())
        self.dense += len(x) * float(self.fan_out.sum())
        if self.binary:
            self.acs += float((x.sum(0, dtype=torch.float64) * self.fan_out).sum())


def fan_out(layer: nn.Module, x: Tensor) -> Tensor:
    """How many outputs each input position of x `[N, *]` feeds, `[*]` float64: the gradient of a layer of ones."""
    with torch.inference_mode(False), torch.enable_grad():
        # The copy carries this counter's own hooks: its forward is called past them.
        ones = copy.deepcopy(layer).double()
        for parameter in ones.parameters():
            nn.init.ones_(parameter)
        position = torch.zeros(1, *x.shape[1:], dtype=torch.float64, device=x.device, requires_grad=True)
        with torch.autocast(x.device.type, enabled=False):
            (gradient,) = torch.autograd.grad(ones.forward(position).sum(), position)
    return gradient[0]


def connections(layer: nn.Module, shape: tuple[int, ...]) -> int:
    """How many products a Linear or Conv layer makes of one input `shape` `[*]`, those with padding left out.

    The sum of `fan_out`, from sizes alone, so that it works for a network without memory (device meta).
    """
    if isinstance(layer, nn.Linear):
        return math.prod(shape[:-1]) * layer.in_features * layer.out_features
    assert isinstance(layer, _ConvNd)
    paddings: Any = layer.padding
    found = layer.in_channels // layer.groups * layer.out_channels
    for size, kernel, stride, padding, dilation in zip(
        shape[1:], layer.kernel_size, layer.stride, paddings, layer.dilation, strict=True
    ):
        outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        positions = (o * stride + k * dilation - padding for o in range(outputs) for k in range(kernel))
        found *= sum(0 <= position < size for position in positions)
    return found


class ConnectionCounter(ForwardHooks):
    """Context in which the dense MACs of `network` are counted from sizes: `macs`, for all that goes through it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.macs = 0

    def _attach(self) -> list[Any]:
        def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.macs += len(inputs[0]) * connections(module, tuple(inputs[0].shape[1:]))

        layers = [m for m in self.network.modules() if isinstance(m, nn.Linear | _ConvNd)]
        return [layer.register_forward_pre_hook(add) for layer in layers]


class OperationCounter(ForwardHooks):
    """Context in which the operations of `network` (called on `[T, B, *]`) are counted.

    A layer counts as spike-driven only if every input it saw was binary.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.samples = 0
        self.synapses = {n: _Synapses(m) for n, m in network.named_modules() if isinstance(m, nn.Linear | _ConvNd)}
        self._own: dict[str, Tensor] = {}  # of each neuron layer: ACs, MACs, state bytes, summed over samples

    def _attach(self) -> list[Any]:
        handles = [self.network.register_forward_pre_hook(self._count_samples)]
        for name, module in self.network.named_modules():
            if name in self.synapses:
                handles.append(module.register_forward_pre_hook(self._see(name)))
            elif isinstance(module, Neuron | LeakyIntegrator):
                handles.append(module.register_forward_pre_hook(self._own_of(name, module)))
        return handles

    def _count_samples(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.samples += inputs[0].shape[1]

    def _see(self, name: str) -> Any:
        return lambda module, inputs: self.synapses[name].see(inputs[0].detach())

    def _own_of(self, name: str, neuron: Neuron | LeakyIntegrator) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            operations = neuron.operations(inputs[0].shape[0])
            each = torch.tensor([operations.acs, operations.macs, operations.state_bytes], dtype=torch.float64)
            total = each * inputs[0][0].numel()
            self._own[name] = self._own[name] + total if name in self._own else total

        return add

    @property
    def counts(self) -> Counts:
        samples = max(1, self.samples)
        neuron_acs, neuron_macs, state_bytes = (
            (sum(column) / samples for column in zip(*self._own.values(), strict=True)) if self._own else (0, 0, 0)
        )
        return Counts(
            synaptic_acs=sum(s.acs for s in self.synapses.values() if s.binary) / samples,
            synaptic_macs=sum(s.dense for s in self.synapses.values() if not s.binary) / samples,
            neuron_acs=float(neuron_acs),
            neuron_macs=float(neuron_macs),
            state_bytes=float(state_bytes),
        )

    @property
    def dense_macs(self) -> float:
        """Per sample: a MAC for every connection of every synaptic layer, what a GPU computes; padding left out."""
        return sum(s.dense for s in self.synapses.values()) / max(1, self.samples)
