"""VGG: the sizes of its configs derived by hand, every neuron, streaming, axes, voting, costs and errors."""

import itertools
from functools import partial

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from snnrepro.architectures.vgg import VGG
from snnrepro.config.check import CONFIGS, check, options
from snnrepro.config.compose import compose_job
from snnrepro.errors import UserError
from snnrepro.metrics.operations import OperationCounter
from snnrepro.metrics.sparsity import SpikeCounter
from snnrepro.neurons import LIF, PSN, PSU

T, B, CLASSES = 5, 3, 4
SHAPE = (2, 9, 8)  # an odd side: pooling drops its last row
CAUSAL = {"lif": LIF, "psu": partial(PSU, surrogate={"name": "atan", "learnable": True})}


@pytest.fixture(autouse=True)
def _one_thread():
    """These networks are too small for more, and the machine may be busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def configured(name: str, shape: tuple[int, ...], classes: int, neuron=LIF, *words: str, device: str = "meta") -> VGG:
    """The network of a config; on `meta` without memory for its weights."""
    config = compose_job([f"architecture={name}", *words]).config
    check(config)
    with torch.device(device):
        return instantiate(config.architecture, _convert_="all")(
            neuron=neuron, input_shape=shape, num_classes=classes, num_steps=T
        )


def small_net(neuron, *, global_pool: bool = False) -> VGG:
    """Both poolings, a hidden layer and voting; in float64 and eval mode, and neurons fire in every layer."""
    torch.manual_seed(3)
    classifier = {"global_pool": global_pool, "hidden": (16,), "dropout": 0.5, "voting": 3}
    net = VGG(neuron, SHAPE, CLASSES, T, layers=[4, "A", 6, 5, "M"], bias=True, **classifier)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 3, 5)
            nn.init.uniform_(module.bias, 0, 1)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.2, 1)
        elif isinstance(module, nn.Linear):
            nn.init.uniform_(module.weight, -4, 4)
    return net.double().eval()


def small_input() -> torch.Tensor:
    return torch.randn(T, B, *SHAPE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def recorded(net: nn.Module, *names: str) -> dict[str, list[torch.Tensor]]:
    """The outputs of these layers, added by every forward."""
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    for name in names:
        net.get_submodule(name).register_forward_hook(lambda module, inputs, y, to=seen[name]: to.append(y))
    return seen


# The configs


def conv_parameters(channels: list[int], *, bias: bool) -> int:
    """Kernels of 9, a bias each, and two numbers of batch norm for every channel."""
    return sum(9 * i * o + (o if bias else 0) + 2 * o for i, o in itertools.pairwise(channels))


@pytest.mark.parametrize(("side", "features"), [(48, 4608), (128, 512 * 8 * 8)])
def test_vgg_dvs_has_the_size_derived_by_hand(side, features):
    convolutions = conv_parameters([2, 64, 128, 256, 256, 512, 512, 512, 512], bias=True)
    assert convolutions == 9_217_152 + 2_752 + 2 * 2_752  # weights, biases, norms
    expected = convolutions + features * 10 + 10
    assert parameters(configured("vgg_dvs", (2, side, side), 10)) == expected
    assert parameters(configured("vgg_dvs", (2, side, side), 10, PSN)) == expected + 8 * (T * T + T)


@pytest.mark.parametrize(("side", "features"), [(64, 1024), (128, 4096)])
def test_dvs_gesture_has_the_size_derived_by_hand(side, features):
    expected = 2 * 256 * 9 + 4 * 256 * 256 * 9 + 5 * 2 * 256 + (features * 1024 + 1024) + (1024 * 110 + 110)
    assert parameters(configured("dvs_gesture", (2, side, side), 11)) == expected
    assert parameters(configured("dvs_gesture", (2, side, side), 11, PSN)) == expected + 6 * (T * T + T)


@pytest.mark.parametrize("side", [32, 64, 100])  # the global average takes what is left
def test_psu_cifar_has_the_size_derived_by_hand_for_images_of_any_size(side):
    convolutions = conv_parameters([3, 256, 256, 256, 256, 512, 512, 1024, 1024], bias=False)
    assert parameters(configured("psu_cifar", (3, side, side), 100)) == convolutions + 1024 * 100 + 100


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("vgg_dvs", (2, 48, 64), 10),
        ("dvs_gesture", (2, 64, 64), 11),
        ("dvs_gesture", (2, 128, 128), 11),
        ("psu_cifar", (3, 32, 32), 100),
    ],
)
def test_a_config_gives_steps_by_batch_by_classes(name, shape, classes):
    net = configured(name, shape, classes, device="cpu").eval()
    with torch.inference_mode():
        assert net(torch.rand(2, 1, *shape)).shape == (2, 1, classes)


def test_the_configs_are_layered_as_their_papers_networks():
    def kinds(net: VGG) -> str:
        short = {"conv": "c", "norm": "n", "neuron": "s", "pool": "p", "dropout": "d", "flatten": "f", "linear": "l"}
        return "".join(short.get(name.rstrip("0123456789"), f" {name}") for name, _ in net.named_children())

    def types(net: VGG, kind: str) -> list[type]:
        return [type(layer) for name, layer in net.named_children() if name.startswith(kind)]

    dvs, gesture = configured("vgg_dvs", (2, 48, 48), 10), configured("dvs_gesture", (2, 64, 64), 11)
    cifar = configured("psu_cifar", (3, 32, 32), 10)
    assert kinds(dvs) == 4 * "cnscnsp" + "fd readout1"
    assert kinds(gesture) == 5 * "cnsp" + "fdlsd readout1 voting1"
    assert kinds(cifar) == 3 * "cnscnsp" + "cnscns" + "pf readout1"
    assert types(dvs, "pool") == 4 * [nn.AvgPool2d]
    assert types(gesture, "pool") == 5 * [nn.MaxPool2d]
    assert types(cifar, "pool") == 3 * [nn.AvgPool2d] + [nn.AdaptiveAvgPool2d]
    assert {*types(dvs, "norm"), *types(gesture, "norm"), *types(cifar, "norm")} == {nn.BatchNorm2d}
    assert [dvs.dropout1.p, gesture.dropout1.p, gesture.dropout2.p] == [0.25, 0.5, 0.5]
    assert gesture.voting1.votes == 10


def test_a_list_of_numbers_and_marks_can_be_given_on_the_command_line():
    net = configured("vgg_dvs", (3, 8, 8), 10, LIF, "architecture.layers=[8,A,16,M]", "architecture.hidden=[5]")
    assert [type(layer) for layer in net if type(layer).__name__.endswith("Pool2d")] == [nn.AvgPool2d, nn.MaxPool2d]
    assert (net.conv2.in_channels, net.conv2.out_channels, net.linear1.in_features) == (8, 16, 16 * 2 * 2)


def test_kaiming_normal_scales_by_the_channels_out_and_uniform_by_those_in():
    torch.manual_seed(0)
    dvs = configured("vgg_dvs", (2, 16, 16), 10, device="cpu").conv2  # 64 to 128 channels
    cifar = configured("psu_cifar", (3, 32, 32), 10, device="cpu").conv5  # 256 to 512
    gesture = configured("dvs_gesture", (2, 32, 32), 11, device="cpu").conv2  # 256 to 256
    assert dvs.weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert dvs.weight.abs().max() > 3 * dvs.weight.std()
    assert cifar.weight.abs().max().item() == pytest.approx((9 * 256) ** -0.5, rel=0.01)
    assert gesture.weight.abs().max().item() == pytest.approx((9 * 256) ** -0.5, rel=0.01)


# What it computes


@pytest.mark.parametrize("name", options("neuron"))
def test_every_neuron_trains_in_a_vgg(name):
    torch.manual_seed(0)
    factory = instantiate(OmegaConf.load(CONFIGS / "neuron" / f"{name}.yaml"), _convert_="all")
    net = VGG(factory, SHAPE, CLASSES, T, layers=[4, "A", 6, "M"], hidden=(16,), voting=2, dropout=0.2)
    y = net(torch.randn(T, B, *SHAPE) * 2)
    assert y.shape == (T, B, CLASSES)
    y.square().mean().backward()
    for parameter, p in net.named_parameters():
        if not parameter.startswith("neuron"):
            assert p.grad is not None, parameter
            assert p.grad.isfinite().all(), parameter
    assert net.conv1.weight.grad.abs().max() > 0


@pytest.mark.parametrize("global_pool", [False, True])
def test_a_neuron_sees_time_and_every_other_layer_each_step_alone(global_pool):
    net, x = small_net(LIF, global_pool=global_pool), small_input()
    expected = x
    for layer in net:
        expected = layer(expected) if isinstance(layer, LIF) else torch.stack([layer(step) for step in expected])
    torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("neuron", [*CAUSAL.values(), PSN], ids=[*CAUSAL, "psn"])
def test_a_sample_does_not_depend_on_its_neighbours(neuron):
    net, x = small_net(neuron), small_input()
    y = net(x)
    for i in range(B):
        torch.testing.assert_close(net(x[:, i : i + 1]), y[:, i : i + 1], rtol=0, atol=1e-12)
    assert (y[:, 0] - y[:, 1]).abs().max() > 0.1


@pytest.mark.parametrize("neuron", CAUSAL.values(), ids=list(CAUSAL))
@pytest.mark.parametrize("cuts", [(1,), (2, 3), (1, 2, 3, 4)])
def test_stream_equals_forward(neuron, cuts):
    net, x = small_net(neuron), small_input()
    state, parts = None, []
    for start, stop in itertools.pairwise([0, *cuts, T]):
        y, state = net.stream(x[start:stop], state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts), net(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("neuron", CAUSAL.values(), ids=list(CAUSAL))
@pytest.mark.parametrize("global_pool", [False, True])
def test_small_nets_fire_in_every_layer_so_that_the_tests_above_mean_something(neuron, global_pool):
    net = small_net(neuron, global_pool=global_pool)
    with SpikeCounter(net) as counter:
        net(small_input())
    rates = [layer.rate for layer in counter.layers.values()]
    assert len(rates) == 4
    assert min(rates) > 0.02
    assert max(rates) < 0.98


def test_voting_is_the_mean_of_each_classs_outputs_in_a_row():
    net, x = small_net(LIF), small_input()
    seen = recorded(net, "readout1")
    y = net(x)
    votes = seen["readout1"][0].reshape(T, B, CLASSES, 3)
    torch.testing.assert_close(y, votes.mean(-1), rtol=0, atol=1e-12)
    assert votes.std(-1).min() > 0  # so the mean is none of them


@pytest.mark.parametrize(("mark", "pool"), [("A", torch.mean), ("M", torch.amax)])
def test_a_mark_pools_squares_of_two_by_two(mark, pool):
    net = VGG(LIF, (2, 6, 4), CLASSES, T, layers=[4, mark]).eval()
    net.norm1.bias.data.fill_(1.0)
    seen = recorded(net, "neuron1", "pool1")
    net(torch.randn(T, B, 2, 6, 4))
    spikes = seen["neuron1"][0].flatten(0, 1)
    squares = spikes.reshape(T * B, 4, 3, 2, 2, 2)
    assert torch.equal(seen["pool1"][0], pool(squares, dim=(3, 5)))
    assert 0.1 < spikes.mean() < 0.9


@pytest.mark.parametrize("name", ["dropout1", "dropout2"])
def test_dropout_in_training_draws_anew_for_every_value_step_and_sample_and_rests_at_evaluation(name):
    torch.manual_seed(0)
    net = VGG(LIF, (2, 16, 16), CLASSES, T, layers=[8], hidden=(2048,), dropout=0.25)  # also 8 x 16 x 16 = 2048
    for layer in (net.flatten1, net.neuron2):
        layer.register_forward_hook(lambda module, inputs, y: torch.ones_like(y))
    seen = recorded(net, name)
    net(torch.randn(T, B, 2, 16, 16))
    net.eval()(torch.randn(T, B, 2, 16, 16))
    training, evaluation = seen[name]
    assert torch.equal(evaluation, torch.ones_like(evaluation))
    dropped = (training == 0).view(T * B, 2048)
    blocks = dropped.view(T, B, 8, 256).float().mean(-1)  # the channels of dropout1
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert blocks.min() > 0.1  # values are dropped, not channels
    assert blocks.max() < 0.4
    for one, other in itertools.combinations(dropped, 2):
        assert (one & other).float().mean().item() == pytest.approx(0.25**2, abs=0.03)


# What it costs


@pytest.mark.parametrize("mark", ["M", "A"])
def test_a_max_pool_keeps_spikes_binary_and_an_average_does_not(mark):
    """On 4 x 4: a 3 x 3 kernel with padding meets (2 + 3 + 3 + 2)^2 = 100 places, on 2 x 2 (2 + 2)^2 = 16."""
    torch.manual_seed(0)
    net = VGG(LIF, (1, 4, 4), CLASSES, T, layers=[2, mark, 3], voting=5).eval()
    net.norm1.bias.data.fill_(1.0)
    net.norm2.bias.data.fill_(1.0)
    seen = recorded(net, "pool1", "flatten1")
    with OperationCounter(net) as counter:
        net(torch.rand(T, B, 1, 4, 4))
    pooled, spikes = seen["pool1"][0], seen["flatten1"][0]
    first, second = T * 100 * 2, T * 16 * 2 * 3
    # Each place of 2 x 2 feeds all four places of each of 3 channels; each last spike, 5 outputs of each class.
    acs = spikes.sum().item() * CLASSES * 5
    if mark == "M":
        acs += pooled.sum().item() * 4 * 3
    assert 0 < pooled.mean() < 1
    assert 0 < spikes.mean() < 1
    assert counter.counts.synaptic_macs == (first if mark == "M" else first + second)
    assert counter.counts.synaptic_acs == pytest.approx(acs / B, rel=1e-12)


def test_a_readout_of_global_averages_is_multiplied():
    torch.manual_seed(0)
    net = VGG(LIF, (1, 4, 4), CLASSES, T, layers=[3], global_pool=True).eval()
    net.norm1.bias.data.fill_(1.0)
    with OperationCounter(net) as counter:
        net(torch.rand(T, B, 1, 4, 4))
    assert counter.counts.synaptic_macs == T * (100 * 3 + 3 * CLASSES)
    assert counter.counts.synaptic_acs == 0


# What it refuses


@pytest.mark.parametrize(
    ("shape", "settings", "named"),
    [
        ((2, 700), {}, "channels x height x width.* 2 x 700;.*architecture=dense"),
        ((3, 4, 8, 8), {}, "gives 3 x 4 x 8 x 8"),
        ((2, 3, 64), {}, "at least 4, halved 2 times.* 2 x 3 x 64;.*architecture=dense"),
        ((2, 64, 3), {}, "at least 4, halved 2 times"),
        ((2, 8, 8), {"layers": []}, r"architecture\.layers must list at least one number of channels, got \[\]"),
        ((2, 8, 8), {"layers": ["A", "M"]}, r"architecture\.layers must list at least one number"),
        ((2, 8, 8), {"layers": [8, "B"]}, r"architecture\.layers lists .*A \(average\) and M \(maximum\), got 'B'"),
        ((2, 8, 8), {"layers": [8, "64"]}, "got '64'"),
        ((2, 8, 8), {"layers": [8, 0]}, "got 0"),
        ((2, 8, 8), {"layers": [8.0]}, "got 8.0"),
        ((2, 8, 8), {"layers": [True]}, "got True"),
        ((2, 8, 8), {"layers": [8, ["A"]]}, r"got \['A'\]"),
        ((2, 8, 8), {"hidden": (5, 0)}, r"architecture\.hidden must list sizes above 0, got \[5, 0\]"),
        ((2, 8, 8), {"voting": 0}, "voting must be above 0, got 0"),
    ],
)
def test_what_a_vgg_cannot_be_is_a_user_error_of_one_line(shape, settings, named):
    with pytest.raises(UserError, match=rf"^.*{named}.*\Z"):
        VGG(LIF, shape, 10, T, **{"layers": [8, "A", 8, "M"]} | settings)


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("architecture.layers=8", "architecture.layers must be a list"),
        ("architecture.layers=[8,1.5]", "architecture.layers must be a list"),
        ("architecture.dropout=1.5", "architecture.dropout must be a number from 0 to 1"),
        ("architecture.voting=0", "architecture.voting must be a whole number above 0"),
        ("architecture.hidden=[A]", "architecture.hidden must be a list of whole numbers above 0"),
        ("architecture.conv_init=normal", "architecture.conv_init must be one of uniform, kaiming_normal"),
        ("architecture.bias=1", "architecture.bias must be true or false"),
    ],
)
def test_a_wrong_setting_is_refused_by_the_check(word, named):
    with pytest.raises(UserError, match=rf"^{named}.*\Z"):
        check(compose_job(["architecture=dvs_gesture", word]).config)


def test_the_smallest_side_named_is_the_smallest_that_works():
    assert configured("vgg_dvs", (2, 16, 17), 10).readout1.in_features == 512
    with pytest.raises(UserError, match="at least 16, halved 4 times"):
        configured("vgg_dvs", (2, 16, 15), 10)
