"""Networks, inputs and batches for comparing other packages' counters; x `[T, B, *]`, the last batch smaller."""

from collections.abc import Callable

import torch
from nets import spikes
from torch import nn

from snnrepro.architectures.attention import STSC
from snnrepro.architectures.dense import Dense
from snnrepro.architectures.layers import Residual, SpikingSequential
from snnrepro.architectures.readout import Voting
from snnrepro.architectures.resnet import TimeEmbedding
from snnrepro.metrics.other_counters import CounterRow, OtherCounters
from snnrepro.neurons import LIF, PSN

T = 4
BATCHES = (3, 3, 2)  # 8 samples, by which float64 divides exactly


def count(net: nn.Module, batches: list[torch.Tensor]) -> dict[str, CounterRow]:
    """Rows by the package's name."""
    net.eval()
    with OtherCounters(net) as counters:
        for x in batches:
            net(x)
    return {row.counter.split()[0]: row for row in counters.rows()}


def signed_spikes(*shape: int) -> torch.Tensor:
    return spikes(*shape) * (1 - 2 * spikes(*shape))


def real(*shape: int) -> torch.Tensor:
    """Half of them 0."""
    return torch.randn(shape) * spikes(*shape, rate=0.5)


def with_some_weights_0(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                module.weight.mul_(torch.rand_like(module.weight) < 0.8)
    return net


def linear_net(neuron=LIF) -> tuple[nn.Module, tuple[int, ...]]:
    layers = (("linear", nn.Linear(6, 9)), ("neuron", neuron(num_steps=T)), ("linear", nn.Linear(9, 3, bias=False)))
    return SpikingSequential(*layers), (6,)


def conv1d_net(neuron=LIF) -> tuple[nn.Module, tuple[int, ...]]:
    return SpikingSequential(
        ("conv", nn.Conv1d(4, 6, 4, stride=3, padding=2, groups=2)),
        ("neuron", neuron(num_steps=T)),
        ("pool", nn.AvgPool1d(2)),
        ("conv", nn.Conv1d(6, 2, 2, padding=1, bias=False)),
    ), (4, 13)


def conv2d_net(neuron=LIF) -> tuple[nn.Module, tuple[int, ...]]:
    return SpikingSequential(
        ("conv", nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), groups=2)),
        ("norm", nn.BatchNorm2d(6)),
        ("neuron", neuron(num_steps=T)),
        ("conv", nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=3, bias=False)),
        ("neuron", neuron(num_steps=T)),
        ("pool", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("linear", nn.LazyLinear(3)),
    ), (4, 7, 5)


def blocks_net(neuron=LIF) -> tuple[nn.Module, tuple[int, ...]]:
    """Two residual blocks, a time embedding, a global average, votes."""

    def conv(channels: int) -> list[tuple[str, nn.Module]]:
        layers = nn.Conv2d(4, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        return [("conv", layers[0]), ("norm", layers[1]), ("neuron", neuron(num_steps=T))]

    return SpikingSequential(
        ("embedding", TimeEmbedding(T)),
        *conv(4),
        ("block", Residual(SpikingSequential(*conv(4)), None, None)),
        ("block", Residual(SpikingSequential(*conv(6)), SpikingSequential(*conv(6)[:2]), neuron(num_steps=T))),
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("linear", nn.Linear(6, 6)),
        ("votes", Voting(3)),
    ), (4, 5, 5)


def attention_net(neuron=LIF) -> tuple[nn.Module, tuple[int, ...]]:
    layers = ("attention", STSC(6)), ("linear", nn.Linear(6, 9)), ("neuron", neuron(num_steps=T))
    return SpikingSequential(*layers, ("linear", nn.Linear(9, 3))), (6,)


def dense_net(neuron=LIF) -> tuple[nn.Module, tuple[int, ...]]:
    return Dense(neuron, (6,), 3, T, hidden=(9, 5)), (6,)


NETS = [linear_net, conv1d_net, conv2d_net]


def made(build: Callable, neuron=LIF) -> tuple[nn.Module, tuple[int, ...]]:
    """A network in eval mode whose neurons fire, and its input's shape."""
    net, shape = build(neuron)
    with torch.no_grad():
        net(torch.zeros(T, 1, *shape))
        for module in net.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                module.weight.mul_(6)
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.fill_(2)
                module.bias.fill_(0.3)
            elif isinstance(module, PSN):
                module.weight.abs_()
    return with_some_weights_0(net).eval(), shape
