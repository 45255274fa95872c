"""The papers' networks, every config: sizes derived by hand, shapes, independence, saving, streaming, what is refused.

Then their parts against formulas that do not call them, how they start, and the connections that are counted in them.
"""

import io
import itertools
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import nn

from snnrepro.architectures.attention import STSC
from snnrepro.architectures.block import BlockConvNet, BlockDense
from snnrepro.architectures.layers import PerPosition, Residual, SpikingSequential
from snnrepro.architectures.readout import LeakyIntegrator, Voting
from snnrepro.architectures.resnet import ResNet19, SEWResNet, TimeEmbedding
from snnrepro.config.check import CONFIGS, check, options
from snnrepro.config.compose import compose_job
from snnrepro.errors import NonCausalError, UserError
from snnrepro.metrics.operations import ConnectionCounter, OperationCounter, connections, fan_out
from snnrepro.metrics.sparsity import SpikeCounter
from snnrepro.neurons import LIF, PSN, Block, Neuron, hold_draws

STEPS, B = 5, 3  # of the small networks that run
# Those that start from a file are the same nets; test_torchvision_weights.py has them.
ARCHITECTURES = [name for name in options("architecture") if not name.endswith("_pretrained")]
CAUSAL = ["lif", "psu", "sliding_psn", "block", "mpe_psn"]


@pytest.fixture(autouse=True)
def _one_thread():
    """These networks are too small for more, and the machine may be busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Passing(Neuron):
    """Gives its input on: for shapes without memory, where no neuron can run."""

    def __init__(self, num_steps: int, num_features: int) -> None:
        super().__init__(num_steps, num_features, 1.0, "atan", "auto")

    def forward(self, x):
        return x


@cache
def neuron_factory(name: str):
    return instantiate(OmegaConf.load(CONFIGS / "neuron" / f"{name}.yaml"), _convert_="all")


@cache
def network_factory(name: str, *words: str):
    fitting = ["dataset=seq_cifar10"] if name == "psn_seq_cifar" else []  # the check wants one that gives columns
    config = compose_job([f"architecture={name}", *fitting, *words]).config
    check(config)
    return instantiate(config.architecture, _convert_="all")


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


# Every config's size, derived by hand


class Paper(NamedTuple):
    """A network as its paper uses it.

    weights: its parameters but those of its neurons. features: of each neuron layer. outputs: where not one a class.
    """

    shape: tuple[int, ...]
    classes: int
    num_steps: int
    weights: int
    features: list[int]
    outputs: int | None = None


def block_linear(inputs: int, hidden: int, outputs: int) -> int:
    """Two Linears with biases, and the decay of each output's integrator."""
    return (inputs * hidden + hidden) + (hidden * outputs + outputs) + outputs


# STSC: 5 taps a feature; 3 taps between all features, with biases; a product of all features.
STSC_700 = 700 * 5 + (700 * 700 * 3 + 700) + 700 * 700
SEVEN_KERNELS_OF_9 = 9 * (64 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 512 * 512 + 512 * 512 + 512 * 512)
VGG_DVS_KERNELS = 9 * 2 * 64 + SEVEN_KERNELS_OF_9
VGG_DVS_CHANNELS = [64, 128, 256, 256, 512, 512, 512, 512]
VGG_DVS_SUM = 64 + 128 + 2 * 256 + 4 * 512

RESNET19 = (
    (3 * 64 * 9 + 2 * 64)
    # stage of 128: 3 blocks of two convolutions, the first from 64 channels; its shortcut is a projection
    + (64 * 128 * 9 + 5 * 128 * 128 * 9 + 6 * 2 * 128 + 64 * 128 + 2 * 128)
    + (128 * 256 * 9 + 5 * 256 * 256 * 9 + 6 * 2 * 256 + 128 * 256 + 2 * 256)
    + (256 * 512 * 9 + 3 * 512 * 512 * 9 + 4 * 2 * 512 + 256 * 512 + 2 * 512)
    + (512 * 256 + 256)
)
# A neuron within each block and one behind it: 3 x 2 + 3 x 2 + 2 x 2 = 16, one behind the stem, one behind the FC.
RESNET19_FEATURES = [64, *[128] * 6, *[256] * 6, *[512] * 4, 256]

SEW_STEM_AND_READOUT = (3 * 64 * 49 + 2 * 64) + (512 * 1000 + 1000)
SEW18 = (
    SEW_STEM_AND_READOUT
    + (4 * 64 * 64 * 9 + 4 * 2 * 64)
    + (64 * 128 * 9 + 3 * 128 * 128 * 9 + 4 * 2 * 128 + 64 * 128 + 2 * 128)
    + (128 * 256 * 9 + 3 * 256 * 256 * 9 + 4 * 2 * 256 + 128 * 256 + 2 * 256)
    + (256 * 512 * 9 + 3 * 512 * 512 * 9 + 4 * 2 * 512 + 256 * 512 + 2 * 512)
)
SEW34 = (
    SEW_STEM_AND_READOUT
    + (6 * 64 * 64 * 9 + 6 * 2 * 64)
    + (64 * 128 * 9 + 7 * 128 * 128 * 9 + 8 * 2 * 128 + 64 * 128 + 2 * 128)
    + (128 * 256 * 9 + 11 * 256 * 256 * 9 + 12 * 2 * 256 + 128 * 256 + 2 * 256)
    + (256 * 512 * 9 + 5 * 512 * 512 * 9 + 6 * 2 * 512 + 256 * 512 + 2 * 512)
)
# Two neurons in each block, one in each of the three projections, one behind the stem.
SEW18_FEATURES = [64, *[64] * 4, *[128] * 5, *[256] * 5, *[512] * 5]
SEW34_FEATURES = [64, *[64] * 6, *[128] * 9, *[256] * 13, *[512] * 7]

PAPERS = {
    "dense": Paper((1, 28, 28), 10, 4, 784 * 512 + 2 * 512 + 512 * 256 + 2 * 256 + (256 * 10 + 10), [512, 256]),
    "psu_shd": Paper(
        (700,),
        20,
        15,
        STSC_700 + (700 * 1024 + 1024 + 2 * 1024) + (1024 * 1024 + 1024 + 2 * 1024) + (1024 * 20 + 20),
        [1024, 1024],
    ),
    "psu_shd_fc": Paper((700,), 20, 15, (700 * 128 + 128) + 2 * (128 * 128 + 128) + (128 * 20 + 20), [128, 128, 128]),
    "psn_cifar10": Paper(
        (3, 32, 32),
        10,
        4,
        # 256 x 8 x 8 = 16384 are left of two poolings
        (3 * 256 * 9 + 5 * 256 * 256 * 9) + 6 * 2 * 256 + (16384 * 4096 + 4096) + (4096 * 10 + 10),
        [256] * 6 + [4096],
    ),
    "psn_seq_cifar": Paper(
        (3, 32),
        10,
        32,
        # 128 x 8 = 1024
        (3 * 128 * 3 + 5 * 128 * 128 * 3) + 6 * 2 * 128 + (1024 * 256 + 256) + (256 * 10 + 10),
        [128] * 6 + [256],
    ),
    # 512 x 3 x 3 = 4608 are left of 48 x 48 after four poolings
    "vgg_dvs": Paper(
        (2, 48, 48), 10, 10, VGG_DVS_KERNELS + VGG_DVS_SUM + 2 * VGG_DVS_SUM + (4608 * 10 + 10), VGG_DVS_CHANNELS
    ),
    "psu_vgg_dvs": Paper((2, 48, 48), 10, 10, VGG_DVS_KERNELS + 2 * VGG_DVS_SUM + (4608 * 10 + 10), VGG_DVS_CHANNELS),
    "dvs_gesture": Paper(
        (2, 64, 64),
        11,
        16,
        # 256 x 2 x 2 = 1024 are left of five poolings; 10 outputs a class
        (2 * 256 * 9 + 4 * 256 * 256 * 9) + 5 * 2 * 256 + (1024 * 1024 + 1024) + (1024 * 110 + 110),
        [256] * 5 + [1024],
    ),
    "psu_cifar": Paper(
        (3, 32, 32),
        10,
        4,
        9 * (3 * 256 + 3 * 256 * 256 + 256 * 512 + 512 * 512 + 512 * 1024 + 1024 * 1024)
        + 2 * (4 * 256 + 2 * 512 + 2 * 1024)
        + (1024 * 10 + 10),
        [256] * 4 + [512] * 2 + [1024] * 2,
    ),
    "resnet19": Paper((3, 32, 32), 100, 4, RESNET19 + 256 * 100 + 100, RESNET19_FEATURES),
    "resnet19_kaiming": Paper((3, 32, 32), 10, 4, RESNET19 + 256 * 10 + 10, RESNET19_FEATURES),
    "sew_resnet18": Paper((3, 224, 224), 1000, 4, SEW18 + 4, SEW18_FEATURES),  # one number for each of 4 steps
    "sew_resnet34": Paper((3, 224, 224), 1000, 4, SEW34 + 4, SEW34_FEATURES),
    "block_dense": Paper((1, 28, 28), 10, 100, block_linear(784, 1000, 10), [1000]),
    "block_fashion_mnist": Paper((1, 28, 28), 10, 100, block_linear(784, 1000, 10), [1000]),
    "block_mnist": Paper((1, 28, 28), 10, 100, block_linear(784, 800, 10), [800]),
    "block_nmnist": Paper((1, 34, 34), 10, 300, block_linear(1156, 300, 20), [300], outputs=20),
    "block_shd": Paper((700,), 20, 500, block_linear(700, 300, 20), [300]),
    "block_v1": Paper((1, 28, 28), 10, 100, block_linear(784, 200, 10), [200]),
    "block_v1_shd": Paper((700,), 20, 500, block_linear(700, 200, 20), [200]),
    "block_yin_yang": Paper((4,), 3, 100, block_linear(4, 120, 3), [120]),
    "block_conv": Paper(
        (1, 28, 28),
        10,
        8,
        # 64 x 7 x 7 = 3136
        (25 * 32 + 32) + (25 * 32 * 64 + 64) + (3136 * 1000 + 1000) + (1000 * 10 + 10) + 10,
        [32 * 28 * 28, 64 * 14 * 14, 1000],  # each position of a feature map is a neuron of its own
    ),
}

# What T steps and the features of a layer make of it.
OF_A_NEURON_LAYER = {
    "lif": lambda T, features: 0,
    "plif": lambda T, features: 1,
    "psn": lambda T, features: T * T + T,  # W, b
    "psu": lambda T, features: 1,  # its surrogate's alpha
    "mpe_psn": lambda T, features: 1 + T,  # threshold, kappa
    "block": lambda T, features: features,  # beta
}


def test_the_tables_here_list_the_configs_that_there_are():
    assert sorted(PAPERS) == sorted(ARCHITECTURES)
    assert sorted(SMALL) == sorted(ARCHITECTURES)


@pytest.mark.parametrize("neuron", list(OF_A_NEURON_LAYER))
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_config_has_the_size_derived_by_hand(name, neuron):
    paper = PAPERS[name]
    with torch.device("meta"):  # sizes without memory
        net = network_factory(name)(
            neuron=neuron_factory(neuron),
            input_shape=paper.shape,
            num_classes=paper.classes,
            num_steps=paper.num_steps,
        )
    of_neurons = sum(OF_A_NEURON_LAYER[neuron](paper.num_steps, features) for features in paper.features)
    assert parameters(net) == paper.weights + of_neurons


def test_the_sew_resnets_have_the_published_sizes_of_the_resnets_whose_weights_the_paper_starts_from():
    assert SEW18 == 11_689_512  # torchvision's resnet18 and resnet34
    assert SEW34 == 21_797_672


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_config_gives_steps_by_batch_by_outputs_and_its_neurons_see_the_features_they_are_told(name):
    paper, seen = PAPERS[name], []

    def factory(**asked):
        neuron = Passing(**asked)
        neuron.register_forward_pre_hook(lambda module, inputs: seen.append((tuple(inputs[0].shape), asked)))
        return neuron

    T = paper.num_steps
    with torch.device("meta"), torch.no_grad():
        net = network_factory(name)(
            neuron=factory, input_shape=paper.shape, num_classes=paper.classes, num_steps=T
        ).eval()
        y = net(torch.empty(T, 2, *paper.shape))
    assert y.shape == (T, 2, paper.outputs or paper.classes)
    assert sorted(shape[2] for shape, _ in seen) == sorted(paper.features)
    for shape, asked in seen:
        assert shape[:2] == (T, 2)
        assert asked == {"num_steps": T, "num_features": shape[2]}


@pytest.mark.parametrize("name", ["dense", "psu_shd_fc", "block_dense"])
def test_a_flattened_input_of_any_shape_gives_a_net_of_the_same_size(name):
    sizes = set()
    for shape in [(1, 28, 28), (784,), (2, 392), (2, 2, 14, 14)]:
        with torch.device("meta"), torch.no_grad():
            net = network_factory(name)(neuron=Passing, input_shape=shape, num_classes=10, num_steps=4).eval()
            assert net(torch.empty(4, 2, *shape)).shape == (4, 2, 10)
            sizes.add(parameters(net))
    assert len(sizes) == 1


# Small ones of every config, which run


class Small(NamedTuple):
    shape: tuple[int, ...]
    words: tuple[str, ...]
    classes: int = 3


SMALL_RESNET = Small((2, 8, 8), ("stem=4", "channels=[4,8,16]", "blocks=[2,1,1]", "hidden=24"))
SMALL_DENSE = Small((2, 4), ("hidden=[12]",))
SMALL = {
    "dense": Small((2, 4), ("hidden=[12,10]",)),
    "psu_shd": Small((6,), ("hidden=[12,10]",)),
    "psu_shd_fc": Small((6,), ("hidden=[12,10,8]",)),
    "psn_cifar10": Small((2, 8, 8), ("channels=16",)),
    "psn_seq_cifar": Small((2, 8), ("channels=16",)),
    "vgg_dvs": Small((2, 9, 8), ("layers=[4,A,6,5,A]",)),
    "psu_vgg_dvs": Small((2, 9, 8), ("layers=[4,A,6,5,A]",)),
    "dvs_gesture": Small((2, 8, 8), ("layers=[4,M,6,M]", "hidden=[16]")),
    "psu_cifar": Small((2, 8, 8), ("layers=[4,5,A,6,6]",)),
    "resnet19": SMALL_RESNET,
    "resnet19_kaiming": SMALL_RESNET,
    "sew_resnet18": Small((2, 9, 8), ("stem=4", "channels=[4,6]", "blocks=[2,1]")),
    "sew_resnet34": Small((2, 8, 8), ("stem=4", "channels=[4,6]", "blocks=[1,2]")),
    "block_conv": Small((2, 8, 9), ("channels=[3,4]", "hidden=[12]")),
} | {name: SMALL_DENSE for name in ARCHITECTURES if name.startswith("block_") and name != "block_conv"}


def small_net(name: str, neuron: str = "lif", seed: int = 15, T: int = STEPS) -> SpikingSequential:
    """In float64 and eval mode, no parameter where it starts; the seed is one with which every layer fires."""
    torch.manual_seed(seed)
    small = SMALL[name]
    net = network_factory(name, *(f"architecture.{word}" for word in small.words))(
        neuron=neuron_factory(neuron), input_shape=small.shape, num_classes=small.classes, num_steps=T
    )
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 2, 4)
            nn.init.uniform_(module.bias, 0, 1.5)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.2, 1)
        elif isinstance(module, nn.Linear):
            nn.init.uniform_(module.weight, -3, 3)
        elif isinstance(module, nn.Conv2d) and name == "block_conv":  # which has no norms
            nn.init.uniform_(module.weight, -0.5, 0.6)
        elif isinstance(module, LeakyIntegrator | Block):
            nn.init.uniform_(module.beta, 0.5, 0.95)
        elif isinstance(module, TimeEmbedding):
            nn.init.normal_(module.embedding)
        elif isinstance(module, PSN):
            nn.init.uniform_(module.weight, -1, 2)
    return net.double().eval()


def small_input(name: str, T: int = STEPS) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(T, B, *SMALL[name].shape, generator=generator, dtype=torch.float64) * 2


@pytest.mark.parametrize("neuron", ["lif", "psu", "block", "mpe_psn", "sliding_psn", "psn"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_small_nets_fire_in_every_layer_so_that_the_tests_below_mean_something(name, neuron):
    net = small_net(name, neuron)
    with SpikeCounter(net) as counter:
        y = net(small_input(name))
    rates = [layer.rate for layer in counter.layers.values()]
    assert min(rates) > 0.01
    assert max(rates) < 0.99
    assert (y[:, 0] - y[:, 1]).abs().max() > 0.01


@pytest.mark.parametrize("neuron", ["lif", "psn", "psu", "block"])  # noise belongs to a place in the batch
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_sample_does_not_depend_on_its_neighbours(name, neuron):
    net, x = small_net(name, neuron), small_input(name)
    y = net(x)
    for i in range(B):
        torch.testing.assert_close(net(x[:, i : i + 1]), y[:, i : i + 1], rtol=0, atol=1e-12)
    torch.testing.assert_close(net(x.flip(1)), y.flip(1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("neuron", ["lif", "psn", "psu", "mpe_psn", "block", "ipsu", "spsn"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_saved_net_read_back_into_one_of_another_seed_gives_the_same_outputs(name, neuron):
    saved, fresh, x = small_net(name, neuron), small_net(name, neuron, seed=5), small_input(name)
    file = io.BytesIO()
    torch.save(saved.state_dict(), file)
    file.seek(0)
    y = saved(x)
    assert not torch.equal(y, fresh(x))
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(y, fresh(x))


STREAMED = [name for name in ARCHITECTURES if name != "psu_shd"]


@pytest.mark.parametrize("neuron", CAUSAL)
@pytest.mark.parametrize("name", STREAMED)
def test_a_net_of_causal_neurons_gives_in_chunks_what_it_gives_for_the_whole(name, neuron):
    net, x = small_net(name, neuron), small_input(name)
    hold_draws(net, 0)
    y = net(x)
    for cuts in [(1, 2, 3, 4), (2,), (1, 4)]:
        state, parts = None, []
        for start, stop in itertools.pairwise([0, *cuts, STEPS]):
            net.stream(-x[start:stop], state)  # a branch not taken must leave the state alone
            part, state = net.stream(x[start:stop], state)
            parts.append(part)
        torch.testing.assert_close(torch.cat(parts), y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", STREAMED)
def test_streaming_a_net_of_psn_names_the_neurons_to_take_instead(name):
    with pytest.raises(NonCausalError, match=r"^PSN.*psu.*\Z"):
        small_net(name, "psn").stream(small_input(name))


def test_streaming_the_shd_net_with_attention_names_the_net_to_take_instead():
    with pytest.raises(NonCausalError, match=r"^the STSC attention.*architecture=dense.*\Z"):
        small_net("psu_shd").stream(small_input("psu_shd"))


@pytest.mark.parametrize("name", ["sew_resnet18", "sew_resnet34"])
def test_a_sew_resnet_past_the_steps_of_its_embedding_is_a_user_error_of_one_line(name):
    net, x = small_net(name), small_input(name, T=STEPS + 1)
    _, state = net.stream(x[:3])
    _, at_the_end = net.stream(x[3:STEPS], state)
    for run in (lambda: net.stream(x[3:], state), lambda: net.stream(x[STEPS:], at_the_end), lambda: net(x)):
        with pytest.raises(UserError, match=rf"^.*T = {STEPS}, .*ends at {STEPS + 1}\Z"):
            run()


def test_a_sew_resnet_without_its_embedding_takes_any_length():
    net = SEWResNet(LIF, (2, 8, 8), 3, STEPS, stem=4, channels=(4, 6), blocks=(1, 1), time_embedding=False).eval()
    assert net(torch.randn(STEPS + 2, B, 2, 8, 8)).shape == (STEPS + 2, B, 3)
    assert not any(isinstance(module, TimeEmbedding) for module in net.modules())


# What they refuse

# What is flattened takes any input.
FLAT = ["dense", "psu_shd", "psu_shd_fc", *(name for name in ARCHITECTURES if SMALL[name] is SMALL_DENSE)]
IMAGE_NETS = [name for name in ARCHITECTURES if name not in (*FLAT, "psn_seq_cifar")]
SMALLEST = {"psn_cifar10": 4, "vgg_dvs": 16, "psu_vgg_dvs": 16, "dvs_gesture": 32, "psu_cifar": 8}
SMALLEST |= {"resnet19": 4, "resnet19_kaiming": 4, "sew_resnet18": 32, "sew_resnet34": 32, "block_conv": 4}


@pytest.mark.parametrize("name", IMAGE_NETS)
def test_an_input_that_is_no_image_or_too_small_is_a_user_error_that_names_a_net_for_it(name):
    smallest = SMALLEST[name]
    sizes = {"neuron": LIF, "num_classes": 10, "num_steps": STEPS}
    for shape in [(3, 64), (784,), (3, 4, 64, 64), (3, smallest - 1, 64), (3, 64, smallest - 1)]:
        named = f"at least {smallest}.* gives {' x '.join(map(str, shape))}; take architecture=dense"
        with torch.device("meta"), pytest.raises(UserError, match=rf"^.*{named}.*\Z"):
            network_factory(name)(input_shape=shape, **sizes)


@pytest.mark.parametrize("name", IMAGE_NETS)
def test_the_smallest_side_that_is_named_works(name):
    shape = (3, SMALLEST[name], SMALLEST[name])
    with torch.device("meta"), torch.no_grad():
        net = network_factory(name)(neuron=Passing, input_shape=shape, num_classes=10, num_steps=4).eval()
        assert net(torch.empty(4, 1, *shape)).shape == (4, 1, 10)


@pytest.mark.parametrize(
    ("network", "given", "named"),
    [
        (BlockDense, {"hidden": ()}, r"architecture\.hidden must list sizes above 0, got \[\]"),
        (BlockDense, {"hidden": (5, 0)}, r"architecture\.hidden must list sizes above 0, got \[5, 0\]"),
        (BlockDense, {"num_outputs": 9}, r"architecture\.num_outputs=9 is less than the 10 classes"),
        (BlockDense, {"integrator_beta": -0.1}, r"architecture\.integrator_beta .* from 0 to 1, got -0\.1"),
        (BlockDense, {"integrator_beta": 1.1}, r"architecture\.integrator_beta .* from 0 to 1, got 1\.1"),
        (BlockDense, {"integrator_beta": float("nan")}, r"architecture\.integrator_beta .* from 0 to 1, got nan"),
        (BlockConvNet, {"channels": ()}, r"architecture\.channels must list sizes above 0, got \[\]"),
        (BlockConvNet, {"channels": (4, -1)}, r"architecture\.channels must list sizes above 0, got \[4, -1\]"),
        (BlockConvNet, {"hidden": ()}, r"architecture\.hidden must list sizes above 0, got \[\]"),
        (BlockConvNet, {"hidden": (0,)}, r"architecture\.hidden must list sizes above 0, got \[0\]"),
        (BlockConvNet, {"integrator_beta": 2.0}, r"architecture\.integrator_beta .* from 0 to 1, got 2\.0"),
        *(
            (network, given, named)
            for network in (ResNet19, SEWResNet)
            for given, named in [
                ({"channels": ()}, r"architecture\.channels must list sizes above 0, got \[\]"),
                ({"blocks": ()}, r"architecture\.blocks must list sizes above 0, got \[\]"),
                ({"channels": (4, 0), "blocks": (1, 1)}, r"architecture\.channels must list sizes above 0, got \[4, 0"),
                ({"channels": (4, 4), "blocks": (1, 0)}, r"architecture\.blocks must list sizes above 0, got \[1, 0"),
                (
                    {"channels": (4, 8), "blocks": (1, 1, 1)},
                    r"architecture\.channels and architecture\.blocks .*each stage, got \[4, 8\] and \[1, 1, 1\]",
                ),
            ]
        ),
    ],
)
def test_a_wrong_setting_is_a_user_error_of_one_line(network, given, named):
    with pytest.raises(UserError, match=rf"^{named}.*\Z"):
        network(LIF, (3, 32, 32), 10, STEPS, **given)


@pytest.mark.parametrize(
    ("name", "word", "named"),
    [
        ("resnet19", "stem=0", "architecture.stem must be a whole number above 0"),
        ("resnet19", "hidden=0", "architecture.hidden must be a whole number above 0"),
        ("resnet19", "norm_gain=0", "architecture.norm_gain must be a number above 0"),
        ("resnet19", "conv_init=normal", "architecture.conv_init must be one of uniform, kaiming_normal"),
        ("resnet19", "blocks=[1,0,1]", "architecture.blocks must be a list of whole numbers above 0"),
        ("sew_resnet18", "stem=0", "architecture.stem must be a whole number above 0"),
        ("sew_resnet18", "time_embedding=1", "architecture.time_embedding must be true or false"),
        ("block_dense", "first_gain=-1", "architecture.first_gain must be a number above 0"),
        ("block_dense", "integrator_beta=1.5", "architecture.integrator_beta must be a number from 0 to 1"),
        ("block_nmnist", "num_outputs=0", "architecture.num_outputs must be "),
        ("block_conv", "channels=8", "architecture.channels must be a list of whole numbers above 0"),
        ("psn_cifar10", "channels=0", "architecture.channels must be a whole number above 0"),
        ("psu_shd", "attention=1", "architecture.attention must be true or false"),
    ],
)
def test_a_wrong_word_of_the_command_line_is_refused_by_the_check(name, word, named):
    with pytest.raises(UserError, match=rf"^{named}.*\Z"):
        check(compose_job([f"architecture={name}", f"architecture.{word}"]).config)


# LeakyIntegrator, Voting, PerPosition


def integrated(x: np.ndarray, beta: np.ndarray) -> np.ndarray:
    v, steps = np.zeros(x.shape[1:]), []
    for step in x:
        v = np.clip(beta, 0, 1) * v + step
        steps.append(v)
    return np.stack(steps)


def integrator(*betas: float) -> LeakyIntegrator:
    layer = LeakyIntegrator(len(betas)).double()
    layer.beta.data = torch.tensor(betas, dtype=torch.float64)
    return layer


@pytest.mark.parametrize("T", [1, 2, 9, 300])
def test_a_leaky_integrator_is_the_loop_with_a_decay_for_each_output_held_within_0_and_1(T):
    betas = (0.0, 0.3, 0.95, 1.0, -0.5, 1.7)
    x = torch.randn(T, B, len(betas), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.from_numpy(integrated(x.numpy(), np.array(betas)))
    torch.testing.assert_close(integrator(*betas)(x), expected, rtol=1e-12, atol=1e-12)


def test_the_decay_of_an_integrator_gets_the_gradient_of_the_loop_by_finite_differences():
    betas = np.array([0.2, 0.9, 0.999, -0.5, 1.7])  # the last two are held at 0 and 1
    generator = np.random.default_rng(0)
    x, weights = generator.standard_normal((12, B, 5)), generator.standard_normal((12, B, 5))
    layer, current = integrator(*betas), torch.from_numpy(x).requires_grad_()
    (layer(current) * torch.from_numpy(weights)).sum().backward()
    numeric, eps = np.zeros(5), 1e-6
    for i in range(5):
        step = eps * np.eye(5)[i]
        up, down = (np.sum(integrated(x, b) * weights) for b in (betas + step, betas - step))
        numeric[i] = (up - down) / (2 * eps)
    torch.testing.assert_close(layer.beta.grad, torch.from_numpy(numeric), rtol=1e-6, atol=1e-7)
    assert layer.beta.grad[3:].tolist() == [0, 0]
    # The gradient of x is the same loop backward in time.
    backward = integrated(weights[::-1], betas)[::-1].copy()
    torch.testing.assert_close(current.grad, torch.from_numpy(backward), rtol=1e-12, atol=1e-12)


def test_a_decay_that_starts_at_1_as_in_the_conv_net_can_be_learned():
    layer = integrator(1.0)
    layer(torch.ones(3, 1, 1, dtype=torch.float64)).sum().backward()
    assert layer.beta.grad.item() == 1 + (1 + 2)  # d/db of 1, b + 1, b^2 + b + 1


def test_an_integrator_in_half_precision_sums_in_single():
    x = torch.full((4096, 1, 1), 0.25, dtype=torch.float16)
    assert LeakyIntegrator(1, 1.0)(x)[-1].item() == 1024  # half precision would stop at 512


def test_an_integrator_that_is_not_to_learn_gets_no_gradient():
    assert not LeakyIntegrator(2, learn_beta=False).beta.requires_grad
    net = BlockDense(LIF, (4,), 3, STEPS, hidden=(5,), learn_integrator_beta=False)
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["integrator1.beta"]


@pytest.mark.parametrize(("classes", "votes"), [(3, 1), (3, 4), (11, 10), (1, 5)])
def test_voting_is_the_mean_of_the_outputs_in_a_row(classes, votes):
    x = torch.randn(7, classes * votes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    columns = x.numpy()
    expected = np.stack([columns[:, k * votes : (k + 1) * votes].mean(1) for k in range(classes)], 1)
    torch.testing.assert_close(Voting(votes)(x), torch.from_numpy(expected), rtol=0, atol=1e-15)


def test_per_position_gives_every_position_the_decay_of_its_own():
    C, H, W = 2, 3, 4
    betas = np.random.default_rng(0).uniform(0, 1, (C, H, W))
    layer = PerPosition(Block(STEPS, C * H * W)).double()
    layer.neuron.beta.data = torch.from_numpy(betas).flatten()
    x = torch.rand(STEPS, B, C, H, W, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    crossed = integrated(x.numpy(), betas) > 1
    first = crossed & (np.cumsum(crossed, 0) == 1)
    spikes = layer(x)
    assert torch.equal(spikes, torch.from_numpy(first).double())
    assert 0.1 < spikes.mean() < 0.9
    # With one decay for each channel instead, other positions would fire.
    of_channels = integrated(x.numpy(), np.broadcast_to(betas[:, :1, :1], betas.shape)) > 1
    assert ((np.cumsum(of_channels, 0) == 1) & of_channels != first).any()


# STSC, Residual, TimeEmbedding


def test_stsc_is_the_equation_of_its_docstring():
    T, F = 7, 3
    torch.manual_seed(0)
    layer = STSC(F).double()
    x = torch.randn(T, B, F, dtype=torch.float64)
    taps, kernel, bias, mix = (p.detach().numpy() for p in layer.parameters())  # [F,1,5], [F,F,3], [F], [F,F]
    assert (taps.shape, kernel.shape, bias.shape, mix.shape) == ((F, 1, 5), (F, F, 3), (F,), (F, F))
    signal, y = x.numpy(), np.zeros((T, B, F))
    for t in range(T):
        filtered, gate = np.zeros((B, F)), np.tile(bias, (B, 1))
        for k in range(5):
            if 0 <= t + k - 2 < T:
                filtered += taps[:, 0, k] * signal[t + k - 2]
        for k in range(3):
            if 0 <= t + k - 1 < T:
                gate += signal[t + k - 1] @ kernel[:, :, k].T
        opened = np.maximum(gate, 0) @ mix.T
        y[t] = filtered * (1 - 1 / (1 + np.exp(-opened)))
    torch.testing.assert_close(layer(x), torch.from_numpy(y), rtol=1e-12, atol=1e-12)


def test_stsc_sees_two_steps_ahead_and_two_back_and_no_further():
    torch.manual_seed(0)
    x = torch.randn(9, 1, 2, dtype=torch.float64, requires_grad=True)
    STSC(2).double()(x)[4].sum().backward()
    assert [t for t in range(9) if x.grad[t].abs().max() > 0] == [2, 3, 4, 5, 6]


def times(weight: float) -> SpikingSequential:
    """A net of one value that multiplies it."""
    net = SpikingSequential(("linear", nn.Linear(1, 1, bias=False)))
    nn.init.constant_(net.linear1.weight, weight)
    return net


def test_a_residual_adds_its_input_itself_where_it_has_no_shortcut():
    x = torch.randn(STEPS, B, 1)
    assert torch.equal(Residual(times(0.0), None, None)(x), x)
    torch.testing.assert_close(Residual(times(2.0), None, None)(x), 3 * x)


def test_a_residual_adds_its_shortcut_and_then_fires():
    x = torch.randn(STEPS, B, 1)
    torch.testing.assert_close(Residual(times(2.0), times(-5.0), None)(x), -3 * x)
    assert torch.equal(Residual(times(2.0), times(-1.0), LIF())(x), LIF()(x))
    assert torch.equal(Residual(times(0.0), None, LIF())(x), LIF()(x))


def test_blocks_of_resnet19_give_spikes_and_those_of_a_sew_resnet_sums_of_them():
    values = {}
    for name in ("sew_resnet18", "resnet19"):
        net, seen = small_net(name), []
        for module in net:
            if isinstance(module, Residual):
                module.register_forward_hook(lambda module, inputs, y, to=seen: to.append(y))
        net(small_input(name))
        values[name] = [y.unique().tolist() for y in seen]
    assert values["resnet19"] == [[0, 1]] * 4
    *same_channels, projected = values["sew_resnet18"]
    assert projected == [0, 1, 2]
    # A block without projection hands on the averages of the pooling behind the stem: ninths, with a spike added.
    assert not all(value.is_integer() for value in same_channels[0])
    assert all((value * 9) == pytest.approx(round(value * 9)) for value in same_channels[0])


def test_only_blocks_that_change_channels_or_size_have_a_shortcut_of_their_own():
    with torch.device("meta"):
        resnet = ResNet19(LIF, (3, 32, 32), 10, 4)
        sew = SEWResNet(LIF, (3, 224, 224), 1000, 4)
    has = [[m.shortcut is not None for m in net if isinstance(m, Residual)] for net in (resnet, sew)]
    assert has == [[True, False, False] * 2 + [True, False], [False, False] + [True, False] * 3]
    assert [m.shortcut.conv1.stride[0] for m in resnet if isinstance(m, Residual) and m.shortcut] == [1, 2, 2]
    assert [m.neuron is None for m in (resnet.block1, sew.block1)] == [False, True]


def test_a_time_embedding_adds_each_steps_number_and_starts_normal_with_deviation_0_02():
    torch.manual_seed(0)
    layer, x = TimeEmbedding(4), torch.randn(4, 2, 3, 5, 5)
    expected = x.numpy() + layer.embedding.detach().numpy()[:, None, None, None, None]
    assert np.array_equal(layer(x).detach().numpy(), expected)
    first, state = layer.stream(x[:3])
    last, state = layer.stream(x[3:], state)
    assert torch.equal(torch.cat([first, last]), layer(x))
    start = TimeEmbedding(100_000).embedding
    assert start.std().item() == pytest.approx(0.02, rel=0.02)
    assert start.abs().max().item() > 3 * 0.02


# How they start


def bounds(weight: torch.Tensor, bound: float) -> None:
    """Uniform between -bound and bound: it reaches both ends and deviates by bound / sqrt 3."""
    assert weight.max().item() == pytest.approx(bound, rel=0.02)
    assert weight.min().item() == pytest.approx(-bound, rel=0.02)
    assert max(weight.max().item(), -weight.min().item()) <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_block_dense_starts_uniform_with_no_biases_and_only_its_first_layer_times_the_gain(gain):
    torch.manual_seed(0)
    net = BlockDense(LIF, (64,), 20, STEPS, hidden=(100, 144), first_gain=gain)
    bounds(net.linear1.weight, gain / 8)
    bounds(net.linear2.weight, 1 / 10)
    bounds(net.readout1.weight, 1 / 12)
    assert not any(layer.bias.any() for layer in (net.linear1, net.linear2, net.readout1))
    assert torch.equal(net.integrator1.beta, torch.full((20,), float(np.exp(np.float64(-1 / 20)))))


def test_the_yin_yang_net_starts_four_times_as_large():
    torch.manual_seed(0)
    net = network_factory("block_yin_yang")(neuron=LIF, input_shape=(4,), num_classes=3, num_steps=STEPS)
    bounds(net.linear1.weight, 4 / 2)
    bounds(net.readout1.weight, 1 / 120**0.5)


def test_the_block_conv_net_starts_its_kernels_within_a_fifth_whatever_their_inputs():
    torch.manual_seed(0)
    net = network_factory("block_conv")(neuron=LIF, input_shape=(1, 28, 28), num_classes=10, num_steps=STEPS)
    bounds(net.conv1.weight, 1 / 5)
    bounds(net.conv2.weight, 1 / 5)
    bounds(net.linear1.weight, 1 / 3136**0.5)
    bounds(net.readout1.weight, 1 / 1000**0.5)
    assert not any(layer.bias.any() for layer in (net.conv1, net.conv2, net.linear1, net.readout1))
    assert net.integrator1.beta.tolist() == [1.0] * 10


@pytest.mark.parametrize(
    ("name", "beta"),
    [("block_dense", -1 / 20), ("block_shd", -1 / 20), ("block_v1", -1 / 20), ("block_v1_shd", -1 / 10)],
)
def test_a_readout_starts_at_the_papers_decay(name, beta):
    net = network_factory(name)(neuron=LIF, input_shape=(4,), num_classes=3, num_steps=STEPS)
    assert net.integrator1.beta.tolist() == pytest.approx([np.exp(beta)] * 3, abs=1e-6)


@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_every_norm_of_resnet19_starts_at_the_gain_and_normalises_over_time_and_batch_together(gain):
    torch.manual_seed(0)
    net = ResNet19(LIF, (2, 8, 8), 3, STEPS, stem=4, channels=(4, 6, 8), blocks=(2, 1, 1), hidden=8, norm_gain=gain)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 1 + 2 * 4 + 2  # stem, two in each block, two projections
    assert {weight for norm in norms for weight in norm.weight.tolist()} == {gain}
    assert not any(norm.bias.any() for norm in norms)
    seen = []
    net.norm1.register_forward_hook(lambda module, inputs, y: seen.append(y))
    net(torch.randn(STEPS, B, 2, 8, 8) + torch.arange(STEPS)[:, None, None, None, None])
    normalised = seen[0].unflatten(0, (STEPS, B))
    torch.testing.assert_close(normalised.mean((0, 1, 3, 4)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.std((0, 1, 3, 4), correction=0), torch.full((4,), gain), atol=1e-3, rtol=0)
    assert (normalised[-1].mean((0, 2, 3)) - normalised[0].mean((0, 2, 3))).abs().max() > 0.1  # not each step alone


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet19", (1 / (3 * 9 * 256)) ** 0.5),  # U(+-1 / sqrt fan_in), whose deviation is 1 / sqrt(3 fan_in)
        ("resnet19_kaiming", (2 / (9 * 512)) ** 0.5),
        ("sew_resnet18", (2 / (9 * 512)) ** 0.5),
    ],
)
def test_convolutions_start_as_the_config_says(name, expected):
    torch.manual_seed(0)
    shape = (3, 32, 32)
    net = network_factory(name)(neuron=LIF, input_shape=shape, num_classes=10, num_steps=STEPS)
    weight = next(m.weight for m in net.modules() if isinstance(m, nn.Conv2d) and m.weight.shape[:2] == (512, 256))
    assert weight.shape[2:] == (3, 3)
    assert weight.std().item() == pytest.approx(expected, rel=0.01)


# Connections


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(
    dimensions=st.sampled_from([1, 2]),
    groups=st.sampled_from([1, 2, 3]),
    channels=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    sides=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_connections_of_a_convolution_are_the_sum_of_its_fan_out(
    dimensions, groups, channels, sides, kernel, stride, padding, dilation
):
    def cut(pair):
        return pair[:dimensions]

    assume(
        all(s + 2 * p > d * (k - 1) for s, p, d, k in zip(*map(cut, (sides, padding, dilation, kernel)), strict=True))
    )
    inputs, outputs = (groups * number for number in channels)
    kind = (nn.Conv1d, nn.Conv2d)[dimensions - 1]
    layer = kind(inputs, outputs, cut(kernel), cut(stride), cut(padding), cut(dilation), groups=groups)
    shape = (inputs, *cut(sides))
    assert connections(layer, shape) == fan_out(layer, torch.zeros(1, *shape)).sum().item()


@pytest.mark.parametrize("lead", [(), (3,), (2, 5)])
def test_connections_of_a_linear_layer_are_the_sum_of_its_fan_out(lead):
    layer = nn.Linear(7, 4)
    assert connections(layer, (*lead, 7)) == 7 * 4 * int(np.prod(lead))
    assert connections(layer, (*lead, 7)) == fan_out(layer, torch.zeros(1, *lead, 7)).sum().item()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_connections_counted_from_sizes_are_the_dense_macs_counted_in_the_forward_pass(name):
    net, x = small_net(name), small_input(name)
    with OperationCounter(net) as measured, ConnectionCounter(net) as counted:
        net(x)
    assert counted.macs == measured.counts.dense_macs * B
    with ConnectionCounter(net) as again:
        net(x[:, :1])
        net(x[:, :1])
    assert again.macs == 2 * measured.counts.dense_macs
    net(x)  # and nothing more once its context is left
    assert again.macs == 2 * measured.counts.dense_macs


def test_connections_of_a_net_without_memory_are_those_derived_by_hand():
    """784-800-10 over 100 steps; 700-1024-1024-20 over 15 with STSC, windows of 5 and 3 lose 6 and 2 at the ends."""
    of_stsc = 700 * (5 * 15 - 6) + 700 * 700 * (3 * 15 - 2) + 15 * 700 * 700
    expected = {
        "block_mnist": 100 * (784 * 800 + 800 * 10),
        "psu_shd": of_stsc + 15 * (700 * 1024 + 1024 * 1024 + 1024 * 20),
    }
    for name, macs in expected.items():
        paper = PAPERS[name]
        factory = partial(network_factory(name), neuron=Passing, num_steps=paper.num_steps, num_classes=paper.classes)
        with torch.device("meta"), torch.no_grad():
            net = factory(input_shape=paper.shape).eval()
            with ConnectionCounter(net) as counter:
                net(torch.empty(paper.num_steps, 1, *paper.shape))
        assert counter.macs == macs
