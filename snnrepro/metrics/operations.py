"""Arithmetic of a network on real inputs, counted layer by layer in the forward pass.

A synaptic layer (Linear, Conv) that receives spikes makes one accumulate (AC) for every input spike and every synapse
it meets, its fan-out, with padding and stride exact. A layer whose input is not binary (pixels, averages after pooling)
makes one multiply-accumulate (MAC) for every connection, zero inputs included. A batch norm makes a MAC for every
value where it is not folded into the weights before it. The own arithmetic of a neuron, or of a leaky integrator that
reads out, is its `operations`. Biases, pooling, additions of shortcuts and comparisons are not counted.

Beside it stands an ANN of the same shape: a dense MAC for every connection, once where the input is one image repeated
over time, at every time-step where it is a sequence.
"""

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from snnrepro.architectures.readout import LeakyIntegrator
from snnrepro.metrics.hooks import ForwardHooks, summed_over_processes
from snnrepro.neurons.neuron import Neuron

BYTES_PER_PARAMETER = 4
FIELDS = 5  # of a neuron's own operations that are summed


class Counts(NamedTuple):
    """Per sample, over all its time-steps."""

    synaptic_acs: float
    synaptic_macs: float
    neuron_acs: float
    neuron_macs: float
    state_bytes: float  # what the neurons keep between time-steps
    state_accesses: float = 0.0  # values of it read and written
    function_evaluations: float = 0.0  # sigmoids and exponentials of the neurons
    norm_macs: float = 0.0  # of batch norms that are not folded
    parameter_bytes: float = 0.0
    dense_macs: float = 0.0  # a MAC for every connection at every time-step, what a GPU computes; padding left out
    ann_macs: float = 0.0
    ann_norm_macs: float = 0.0


class LayerCounts(NamedTuple):
    """Of one synaptic layer, of a layer of neurons, or of a leaky integrator, per sample."""

    acs: float
    macs: float
    dense_macs: float | None = None
    spike_driven: bool | None = None
    state_bytes: float | None = None


class _Synapses:
    """One synaptic layer: what came in, and how far each input reaches. acs counts only where all input was binary."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.fan_out: Tensor | None = None
        self.acs: Tensor | float = 0.0
        self.dense = 0
        self.binary: Tensor | bool = True

    def see(self, x: Tensor) -> None:
        """x `[T*B, *]`, the layer's input. Nothing is read back from the device."""
        if self.fan_out is None or self.fan_out.shape != x.shape[1:]:
            self.fan_out = fan_out(self.layer, x)
            self._connections = connections(self.layer, tuple(x.shape[1:]))
        self.dense += len(x) * self._connections
        self.binary = ((x == 0) | (x == 1)).all() & self.binary
        self.acs = (x.sum(0, dtype=torch.float64) * self.fan_out).sum() + self.acs


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
        self._own: dict[str, Tensor] = {}  # of each neuron layer, summed over samples, in the order of `_own_of`
        self._norm_macs = 0
        self._ann_macs = self._ann_norm_macs = 0.0
        self._dense_before = self._norm_before = 0
        self._passes = 1

    def _attach(self) -> list[Any]:
        handles = [self.network.register_forward_pre_hook(self._see_input)]
        handles.append(self.network.register_forward_hook(self._see_output))
        for name, module in self.network.named_modules():
            if name in self.synapses:
                handles.append(module.register_forward_pre_hook(self._see(name)))
            elif isinstance(module, Neuron | LeakyIntegrator):
                handles.append(module.register_forward_pre_hook(self._own_of(name, module)))
            elif isinstance(module, _BatchNorm):
                handles.append(module.register_forward_pre_hook(self._see_norm))
        return handles

    def _see_input(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        self._dense_before, self._norm_before = self._dense_total, self._norm_macs
        self._passes = 1 if bool((x[1:] == x[:1]).all()) else len(x)
        self.samples += x.shape[1]

    def _see_output(self, module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        share = self._passes / len(inputs[0])
        self._ann_macs += (self._dense_total - self._dense_before) * share
        self._ann_norm_macs += (self._norm_macs - self._norm_before) * share

    def _see(self, name: str) -> Any:
        return lambda module, inputs: self.synapses[name].see(inputs[0].detach())

    def _see_norm(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._norm_macs += inputs[0].numel()

    def _own_of(self, name: str, neuron: Neuron | LeakyIntegrator) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            steps = inputs[0].shape[0]
            one = neuron.operations(steps)
            each = torch.tensor(
                [one.acs, one.macs, one.state_bytes, one.accesses(steps), one.function_evaluations], dtype=torch.float64
            )
            total = each * inputs[0][0].numel()
            self._own[name] = self._own[name] + total if name in self._own else total

        return add

    @property
    def _dense_total(self) -> int:
        return sum(s.dense for s in self.synapses.values())

    def gather(self) -> None:
        """Add up what every process of a distributed run has counted, in place; a lone process keeps what it has."""
        device = next((p.device for p in self.network.parameters()), torch.device("cpu"))
        names = list(self._own)
        plain = [self.samples, self._norm_macs, self._ann_macs, self._ann_norm_macs]
        plain += [value for s in self.synapses.values() for value in (float(s.acs), s.dense, not bool(s.binary))]
        flat = torch.cat([torch.tensor(plain, dtype=torch.float64), *(self._own[name] for name in names)])
        total = summed_over_processes(flat, device).cpu()
        self.samples, self._norm_macs = int(total[0]), int(total[1])
        self._ann_macs, self._ann_norm_macs = float(total[2]), float(total[3])
        rest = total[4:]
        for number, synapses in enumerate(self.synapses.values()):
            acs, dense, real = (float(value) for value in rest[3 * number : 3 * number + 3])
            synapses.acs, synapses.dense, synapses.binary = acs, int(dense), not real
        self._own = dict(zip(names, rest[3 * len(self.synapses) :].view(len(names), FIELDS), strict=True))

    @property
    def counts(self) -> Counts:
        samples = max(1, self.samples)
        own = [float(value) / samples for value in sum(self._own.values(), torch.zeros(FIELDS, dtype=torch.float64))]
        return Counts(
            synaptic_acs=sum(float(s.acs) for s in self.synapses.values() if s.binary) / samples,
            synaptic_macs=sum(s.dense for s in self.synapses.values() if not s.binary) / samples,
            neuron_acs=own[0],
            neuron_macs=own[1],
            state_bytes=own[2],
            state_accesses=own[3],
            function_evaluations=own[4],
            norm_macs=self._norm_macs / samples,
            parameter_bytes=float(BYTES_PER_PARAMETER * sum(p.numel() for p in self.network.parameters())),
            dense_macs=self._dense_total / samples,
            ann_macs=self._ann_macs / samples,
            ann_norm_macs=self._ann_norm_macs / samples,
        )

    @property
    def layers(self) -> dict[str, LayerCounts]:
        """By module name, in the network's order: synaptic layers, neurons, leaky integrators."""
        samples = max(1, self.samples)
        found: dict[str, LayerCounts] = {}
        for name, _ in self.network.named_modules():
            if name in self._own:
                acs, macs, state_bytes, *_ = (float(value) / samples for value in self._own[name])
                found[name] = LayerCounts(acs, macs, state_bytes=state_bytes)
            elif name in self.synapses:
                layer = self.synapses[name]
                binary, dense = bool(layer.binary), layer.dense / samples
                acs, macs = (float(layer.acs) / samples, 0.0) if binary else (0.0, dense)
                found[name] = LayerCounts(acs, macs, dense, binary)
        return found
