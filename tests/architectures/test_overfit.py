"""Every network of the papers learns eight random samples by heart, with a neuron of every paper and the LIF.

The readout stays as it starts, so that the layers in front of it must learn, through their neurons. No combination is
left out. Where they start too quiet to tell samples apart at T = 4 and an eighth of the width, they are made to fire
more: see `start`.
"""

from functools import cache
from typing import NamedTuple

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn
from torch.nn.functional import cross_entropy

from snnrepro.config.check import CONFIGS, options
from snnrepro.config.compose import compose_job, composed
from snnrepro.neurons import hold_draws

pytestmark = pytest.mark.slow

T, SAMPLES, CLASSES = 4, 8, 4
NEURONS = ["lif", "psn", "psu", "mpe_psn", "block"]


class Small(NamedTuple):
    """An architecture with an eighth of its widths or so and few residual blocks, and the input it takes."""

    shape: tuple[int, ...]
    words: tuple[str, ...]


NETWORKS = {
    "dense": Small((1, 8, 8), ("hidden=[128,64]",)),
    "psu_shd": Small((88,), ("hidden=[128,128]", "dropout=0")),
    "block_dense": Small((1, 8, 8), ("hidden=[125]",)),
    "block_conv": Small((1, 8, 8), ("channels=[4,8]", "hidden=[125]")),
    "psn_cifar10": Small((3, 8, 8), ("channels=32",)),
    "psn_seq_cifar": Small((3, 32), ("channels=32",)),
    "vgg_dvs": Small((2, 16, 16), ("layers=[8,16,A,32,32,A,64,64,A,64,64,A]", "dropout=0")),
    "dvs_gesture": Small((2, 32, 32), ("layers=[8,M,8,M,16,M,32,M,128,M]", "hidden=[128]", "dropout=0")),
    "psu_cifar": Small((3, 8, 8), ("layers=[32,32,A,32,32,A,64,64,A,128,128]",)),
    "resnet19": Small((3, 8, 8), ("stem=8", "channels=[16,32,64]", "blocks=[1,1,1]", "hidden=32")),
    "sew_resnet18": Small((3, 32, 32), ("stem=8", "channels=[8,16,32,64]", "blocks=[1,1,1,1]")),
}

MOST_STEPS = 150


def learning_rate(name: str, neuron: str) -> float:
    """The Block's surrogate is steep, and a crossing's gradient sums over all later steps: small updates."""
    if name == "block_conv":  # two spiking layers of few kernels: it can take, and needs, large ones
        return 0.01
    return 0.001 if neuron == "block" else 0.005


# These have a Linear without norm on sparse spikes in front of a neuron, which would hardly fire.
QUIET = ("block_conv", "psn_cifar10", "psn_seq_cifar", "dvs_gesture", "resnet19")


@pytest.fixture(autouse=True)
def _one_thread():
    """These networks are too small for more, and the machine may be busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def network_factory(name: str):
    fitting = ["dataset=seq_cifar10"] if name == "psn_seq_cifar" else []
    words = [f"architecture.{word}" for word in NETWORKS[name].words]
    return instantiate(compose_job([f"architecture={name}", *fitting, *words]).config.architecture, _convert_="all")


def start(net: nn.Module, name: str, neuron: str) -> None:
    """Norms of weight 2, not 1, and the quiet Linear four times as large: PSN then fires at 0.17, not 0.05.

    The norms of a net of Blocks stay: a wider membrane lies further from the threshold, where its steep surrogate
    gives no gradient, and the deep nets then learn nothing.
    """
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and neuron != "block":
            nn.init.constant_(module.weight, 2.0)
    if name in QUIET:
        net.linear1.weight.data *= 4
    net.readout1.requires_grad_(False)


def steps_to_learn(name: str, neuron: str) -> int | None:
    """How many updates until all samples are classified right in train mode."""
    torch.manual_seed(0)
    factory = instantiate(OmegaConf.load(CONFIGS / "neuron" / f"{neuron}.yaml"), _convert_="all")
    shape = NETWORKS[name].shape
    net = network_factory(name)(neuron=factory, input_shape=shape, num_classes=CLASSES, num_steps=T).train()
    start(net, name, neuron)
    hold_draws(net, 0)
    x, labels = torch.randn(T, SAMPLES, *shape), torch.arange(SAMPLES) % CLASSES
    optimizer = torch.optim.Adam(net.parameters(), learning_rate(name, neuron))
    for step in range(MOST_STEPS + 1):
        logits = net(x).mean(0)
        if bool((logits.argmax(1) == labels).all()):
            return step
        optimizer.zero_grad()
        cross_entropy(logits, labels).backward()
        optimizer.step()
    return None


def test_every_class_of_networks_is_among_those_that_learn():
    names = options("architecture")
    target = {name: composed([f"architecture={name}"]).architecture._target_ for name in names}
    assert {target[name] for name in NETWORKS} == set(target.values())


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_network_learns_eight_samples_by_heart(name, neuron):
    assert steps_to_learn(name, neuron), f"not in {MOST_STEPS} updates, or without any"
