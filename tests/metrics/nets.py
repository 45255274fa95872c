"""Small networks and inputs that are counted by hand."""

import torch
from torch import nn

from snnrepro.architectures.dense import Dense
from snnrepro.metrics.operations import Counts, OperationCounter
from snnrepro.neurons import LIF


def spikes(*shape: int, rate: float = 0.4) -> torch.Tensor:
    return (torch.rand(shape) < rate).float()


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


def unequal_net(neuron=LIF, T: int = 5) -> Dense:
    """8 inputs, layers of 20 and 3 neurons that fire, 4 classes; no bias before the batch norms."""
    net = Dense(neuron, (8,), 4, T, hidden=(20, 3)).eval()
    for layer in (net.linear1, net.linear2):
        nn.init.uniform_(layer.weight, -1, 2)
    return net


def count(net: nn.Module, *batches: torch.Tensor) -> Counts:
    with OperationCounter(net) as counter:
        for x in batches:
            net(x)
    return counter.counts


def arithmetic(net: nn.Module, *batches: torch.Tensor) -> tuple[float, ...]:
    """Synaptic ACs and MACs, the neurons' ACs and MACs, and what they keep, in bytes: per sample."""
    return tuple(count(net, *batches)[:5])
