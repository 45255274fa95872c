"""The networks: sizes derived by hand, shapes, names, streaming, and errors that say what to take instead."""

import itertools
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from snnrepro.architectures.convnet import PSNConvNet
from snnrepro.architectures.dense import Dense
from snnrepro.architectures.layers import SpikingSequential, over_time
from snnrepro.errors import NonCausalError, UserError
from snnrepro.neurons import LIF, PSN, PSU

NEURONS = {"lif": LIF, "psu": partial(PSU, surrogate={"name": "atan", "learnable": True}), "psn": PSN}
CONV_NAMES = [
    *["conv1", "norm1", "neuron1", "conv2", "norm2", "neuron2", "conv3", "norm3", "neuron3", "pool1"],
    *["conv4", "norm4", "neuron4", "conv5", "norm5", "neuron5", "conv6", "norm6", "neuron6", "pool2"],
    *["flatten1", "linear1", "neuron7", "readout1"],
]
every_neuron = pytest.mark.parametrize("neuron", list(NEURONS.values()), ids=list(NEURONS))
every_kind = pytest.mark.parametrize("kind", ["dense", "conv2d", "conv1d"])


@pytest.fixture(autouse=True)
def _one_thread():
    """These networks are too small for more, and the machine may be busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_net(kind: str, neuron, T: int = 8) -> SpikingSequential:
    """In float64 and eval mode, with batch norms that are not the identity, and neurons that fire in every layer."""
    torch.manual_seed(3)
    if kind == "dense":
        net = Dense(neuron, (2, 4), 3, T, hidden=(6, 5), dropout=0.5)
    else:
        shape = (2, 8, 8) if kind == "conv2d" else (2, 8)
        net = PSNConvNet(neuron, shape, 3, T, channels=6, dimensions=len(shape) - 1)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 1, 3)
            nn.init.uniform_(module.bias, 0, 2)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.2, 1)
        elif isinstance(module, nn.Linear):
            nn.init.uniform_(module.weight, -2, 3)
    return net.double().eval()


def small_input(kind: str, T: int = 8, batch: int = 2) -> torch.Tensor:
    rest = {"dense": (2, 4), "conv2d": (2, 8, 8), "conv1d": (2, 8)}[kind]
    return torch.randn(T, batch, *rest, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_the_psn_papers_cifar10_network_has_the_size_derived_by_hand():
    with torch.device("meta"):  # sizes without memory
        net = PSNConvNet(PSN, (3, 32, 32), 10, 4, channels=256, dimensions=2)
        without = PSNConvNet(LIF, (3, 32, 32), 10, 4, channels=256, dimensions=2)
    convolutions = 3 * 256 * 9 + 5 * 256 * 256 * 9  # no bias
    norms = 6 * 2 * 256
    linear = 16384 * 4096 + 4096 + 4096 * 10 + 10  # 256 x 8 x 8 = 16384, a quarter of it 4096
    neurons = 7 * (4 * 4 + 4)  # W and b of each layer
    assert parameters(net) == convolutions + norms + linear + neurons
    assert parameters(without) == convolutions + norms + linear


@pytest.mark.parametrize("classes", [10, 100])
def test_the_psn_papers_sequential_cifar_network_has_the_size_derived_by_hand(classes):
    with torch.device("meta"):
        net = PSNConvNet(PSN, (3, 32), classes, 32, channels=128, dimensions=1)
        without = PSNConvNet(LIF, (3, 32), classes, 32, channels=128, dimensions=1)
    convolutions = 3 * 128 * 3 + 5 * 128 * 128 * 3
    norms = 6 * 2 * 128
    linear = 1024 * 256 + 256 + 256 * classes + classes  # 128 x 8 = 1024, a quarter of it 256
    neurons = 7 * (32 * 32 + 32)
    assert parameters(net) == convolutions + norms + linear + neurons
    assert parameters(without) == convolutions + norms + linear


def test_dense_has_the_size_derived_by_hand():
    # 8 inputs, hidden 5 and 3, 10 classes; with batch norm the Linear before it has no bias
    with_norm = 8 * 5 + 2 * 5 + 5 * 3 + 2 * 3 + 3 * 10 + 10
    without = (8 * 5 + 5) + (5 * 3 + 3) + (3 * 10 + 10)
    for shape in [(8,), (2, 4), (2, 2, 2)]:
        assert parameters(Dense(LIF, shape, 10, 4, hidden=(5, 3))) == with_norm
        assert parameters(Dense(LIF, shape, 10, 4, hidden=(5, 3), batch_norm=False)) == without
        assert parameters(Dense(PSN, shape, 10, 4, hidden=(5, 3))) == with_norm + 2 * (4 * 4 + 4)


@every_neuron
@pytest.mark.parametrize(
    ("shape", "T"), [((1, 28, 28), 4), ((3, 32, 32), 3), ((1, 28), 28), ((3, 32), 32), ((2, 9), 1)]
)
def test_outputs_are_steps_by_batch_by_classes(neuron, shape, T):
    torch.manual_seed(0)
    x = torch.rand(T, 2, *shape)
    assert PSNConvNet(neuron, shape, 7, T, channels=4, dimensions=len(shape) - 1)(x).shape == (T, 2, 7)
    assert Dense(neuron, shape, 7, T, hidden=(5,))(x).shape == (T, 2, 7)


def test_layers_are_named_by_kind_and_number():
    with torch.device("meta"):
        assert [name for name, _ in PSNConvNet(LIF, (3, 8, 8), 10, 4).named_children()] == CONV_NAMES
        names = [name for name, _ in Dense(LIF, (3,), 10, 4, hidden=(5, 3), dropout=0.1).named_children()]
        bare = [name for name, _ in Dense(LIF, (3,), 10, 4, hidden=(5,), batch_norm=False).named_children()]
    first = ["flatten1", "linear1", "norm1", "neuron1", "dropout1"]
    assert names == [*first, "linear2", "norm2", "neuron2", "dropout2", "readout1"]
    assert bare == ["flatten1", "linear1", "neuron1", "readout1"]


def test_the_factory_is_told_the_steps_and_the_size_of_dim_2_of_every_layer():
    asked, seen = [], []

    def factory(**arguments):
        asked.append(arguments)
        neuron = LIF()
        neuron.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[2]))
        return neuron

    PSNConvNet(factory, (2, 8, 12), 3, 5, channels=4)(torch.rand(5, 2, 2, 8, 12))
    Dense(factory, (2, 4), 3, 5, hidden=(6, 7))(torch.rand(5, 2, 2, 4))
    assert seen == [4] * 6 + [4 * 2 * 3 // 4] + [6, 7]
    assert asked == [{"num_steps": 5, "num_features": size} for size in seen]


@every_kind
def test_a_neuron_sees_time_and_every_other_layer_each_step_alone(kind):
    net, x = small_net(kind, LIF), small_input(kind)
    expected = x
    for layer in net:
        expected = layer(expected) if isinstance(layer, LIF) else torch.stack([layer(step) for step in expected])
    torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-12)


def test_batch_norm_in_training_normalises_over_time_and_batch_together():
    x = small_input("conv2d", T=5) * 3 + torch.arange(5.0)[:, None, None, None, None]
    y = SpikingSequential(("norm", nn.BatchNorm2d(2, eps=1e-12))).double()(x)
    torch.testing.assert_close(y.mean((0, 1, 3, 4)), torch.zeros(2).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(y.var((0, 1, 3, 4), correction=0), torch.ones(2).double())
    assert y[4].mean() > y[0].mean() + 0.5  # so not step by step


def test_over_time_keeps_steps_and_batch_apart():
    x = torch.arange(24.0).reshape(2, 3, 4)
    assert torch.equal(over_time(nn.Flatten(), x.reshape(2, 3, 2, 2)), x)
    assert torch.equal(over_time(nn.Identity(), x), x)


def test_an_image_repeated_by_expand_gives_what_its_copies_give():
    net, image = small_net("conv2d", PSN), small_input("conv2d", T=1)
    assert torch.equal(net(image.expand(8, 2, 2, 8, 8)), net(image.repeat(8, 1, 1, 1, 1)))


@every_kind
@pytest.mark.parametrize("neuron", ["lif", "psu"])
@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(cuts=st.sets(st.integers(1, 7)))
def test_stream_equals_forward_for_any_split(kind, neuron, cuts):
    net, x = small_net(kind, NEURONS[neuron]), small_input(kind)
    state, parts = None, []
    for start, stop in itertools.pairwise([0, *sorted(cuts), 8]):
        net.stream(-x[start:stop], state)  # a branch not taken must leave the state alone
        y, state = net.stream(x[start:stop], state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts), net(x), rtol=0, atol=1e-12)


@every_kind
def test_small_nets_fire_in_every_layer_so_that_the_tests_above_mean_something(kind):
    net, rates = small_net(kind, LIF), []
    for module in net:
        if isinstance(module, LIF):
            module.register_forward_hook(lambda module, inputs, spikes: rates.append(spikes.mean().item()))
    net(small_input(kind))
    assert min(rates) > 0.02
    assert max(rates) < 0.98


@every_kind
def test_streaming_a_network_that_looks_ahead_names_the_neurons_to_take_instead(kind):
    with pytest.raises(NonCausalError, match=r"PSN.*psu"):
        small_net(kind, PSN).stream(small_input(kind))


def test_a_network_of_psn_given_another_length_is_a_user_error_naming_both():
    with pytest.raises(UserError, match=r"T = 8\D.*T = 5\b"):
        small_net("dense", PSN)(small_input("dense", T=5))


@every_kind
@every_neuron
def test_state_dict_round_trip_restores_the_outputs(kind, neuron):
    saved, x = small_net(kind, neuron), small_input(kind)
    fresh = small_net(kind, neuron)
    for p in fresh.parameters():
        nn.init.uniform_(p, 0.1, 0.2)
    assert not torch.equal(saved(x), fresh(x))
    fresh.load_state_dict(saved.state_dict())
    assert torch.equal(saved(x), fresh(x))


@every_kind
@every_neuron
def test_every_parameter_gets_a_gradient(kind, neuron):
    net = small_net(kind, neuron).train()
    net(small_input(kind, batch=4)).square().mean().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("shape", "dimensions", "named"),
    [
        ((3, 32), 2, "3 x 32"),
        ((784,), 2, "784"),
        ((3, 32, 32), 1, "3 x 32 x 32"),
        ((1, 3, 28), 2, "1 x 3 x 28"),  # nothing is left of 3 rows after two poolings
        ((1, 3), 1, "1 x 3"),
        ((3, 8, 8, 8), 3, "dimensions"),
        ((3,), 0, "dimensions"),
    ],
)
def test_a_shape_the_convnet_cannot_take_is_a_user_error_of_one_line(shape, dimensions, named):
    with pytest.raises(UserError, match=rf"^.*{named}.*\Z"):
        PSNConvNet(LIF, shape, 10, 4, channels=4, dimensions=dimensions)


@pytest.mark.parametrize("hidden", [(), (5, 0), (-1,)])
def test_dense_without_a_size_above_0_is_a_user_error_of_one_line(hidden):
    with pytest.raises(UserError, match=r"^architecture\.hidden.*\Z"):
        Dense(LIF, (8,), 10, 4, hidden=hidden)
