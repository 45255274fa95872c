"""Spikes, operations, energy and speed, against counts made by hand or by plain Python loops over every synapse."""

import itertools
import statistics

import pytest
import torch
from torch import nn

from snnrepro.architectures.dense import Dense
from snnrepro.architectures.layers import SpikingSequential
from snnrepro.metrics import speed
from snnrepro.metrics.energy import CostModel
from snnrepro.metrics.operations import Counts, OperationCounter, fan_out
from snnrepro.metrics.sparsity import SpikeCounter
from snnrepro.neurons import LIF, PSN, PSU

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _seeded_on_one_thread():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


# Firing


def test_spike_counter_equals_a_walk_through_the_layers_also_for_a_partial_last_batch():
    net, batches = unequal_net(), [torch.rand(5, size, 8) * 2 for size in (4, 4, 1)]
    with SpikeCounter(net) as counter:
        for x in batches:
            net(x)
    fired = {"neuron1": 0, "neuron2": 0}
    for x in batches:
        for name, layer in net.named_children():
            x = layer(x) if isinstance(layer, LIF) else torch.stack([layer(step) for step in x])
            if name in fired:
                fired[name] += int(x.sum())
    assert min(fired.values()) > 0
    assert counter.samples == 9
    assert {name: layer.spikes for name, layer in counter.layers.items()} == fired
    assert [layer.possible for layer in counter.layers.values()] == [900, 135]
    rates = {name: counter.layers[name].rate for name in fired}
    assert rates == {"neuron1": fired["neuron1"] / 900, "neuron2": fired["neuron2"] / 135}
    total = sum(fired.values())
    assert counter.summary() == {
        "test/firing_rate": total / (900 + 135),
        "test/spikes_per_sample": total / 9,
        "test/firing_rate/neuron1": rates["neuron1"],
        "test/firing_rate/neuron2": rates["neuron2"],
    }
    assert abs(statistics.mean(rates.values()) - total / (900 + 135)) > 0.01  # so a mean of layers would be noticed


def test_spike_counter_is_exact_where_the_spikes_dtype_is_not():
    net = SpikingSequential(("neuron", LIF(reset="none")))
    with SpikeCounter(net) as counter:
        net(torch.full((3, 7, 1001), 10.0, dtype=torch.bfloat16))
    assert counter.layers["neuron1"].spikes == 3 * 7 * 1001


def test_spike_counter_is_exact_where_batches_differ_in_length():
    net = SpikingSequential(("neuron", LIF()))
    with SpikeCounter(net) as counter:
        for T in (8, 2):
            net(torch.full((T, 1, 1), 10.0))
    assert counter.layers["neuron1"].rate == 1


def test_spike_counter_that_saw_nothing_reports_zeros():
    with SpikeCounter(unequal_net()) as counter:
        pass
    assert counter.summary() == {"test/firing_rate": 0, "test/spikes_per_sample": 0}


@pytest.mark.parametrize("counter", [SpikeCounter, OperationCounter])
def test_counters_leave_no_hook_even_after_an_error_and_count_nothing_outside(counter):
    net, x = unequal_net(), torch.rand(5, 2, 8)
    with counter(net) as counted:
        net(x)
        assert hooks(net) > 0
    assert hooks(net) == 0
    net(x)
    assert counted.samples == 2
    with pytest.raises(RuntimeError, match="shapes"), counter(net):
        net(torch.rand(5, 2, 9))
    assert hooks(net) == 0


# Operations


def count(net: nn.Module, *batches: torch.Tensor) -> Counts:
    with OperationCounter(net) as counter:
        for x in batches:
            net(x)
    return counter.counts


def brute_force(conv: nn.Conv1d | nn.Conv2d, x: torch.Tensor) -> tuple[int, int]:
    """(spikes that meet a synapse, connections) of x `[N, C, *]`: every output, every kernel tap inside the input."""
    sides = x.shape[2:]
    outputs = conv(x).shape[2:]
    from_each = conv.in_channels // conv.groups
    met = connections = 0
    for sample, out in itertools.product(range(len(x)), range(conv.out_channels)):
        first = out // (conv.out_channels // conv.groups) * from_each
        for channel in range(first, first + from_each):
            for position in itertools.product(*map(range, outputs)):
                for tap in itertools.product(*map(range, conv.kernel_size)):
                    at = tuple(
                        o * conv.stride[d] - conv.padding[d] + k * conv.dilation[d]
                        for d, (o, k) in enumerate(zip(position, tap, strict=True))
                    )
                    if all(0 <= a < side for a, side in zip(at, sides, strict=True)):
                        connections += 1
                        met += int(x[(sample, channel, *at)])
    return met, connections


CONVOLUTIONS = [
    (nn.Conv2d(2, 3, 3, padding=1, bias=False), (2, 5, 4)),
    (nn.Conv2d(2, 3, 3), (2, 5, 6)),
    (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), groups=2), (4, 6, 5)),
    (nn.Conv2d(3, 3, 2, stride=2, groups=3), (3, 5, 5)),  # the last row and column feed nothing
    (nn.Conv2d(1, 2, 3, padding=2, dilation=2), (1, 6, 5)),
    (nn.Conv1d(3, 4, 3, padding=1), (3, 9)),
    (nn.Conv1d(4, 2, 4, stride=3, padding=2, groups=2), (4, 10)),
]


@pytest.mark.parametrize(("conv", "shape"), CONVOLUTIONS, ids=lambda value: str(value).replace(" ", ""))
def test_a_convolution_costs_what_a_loop_over_outputs_and_taps_counts(conv, shape):
    net, x = SpikingSequential(("conv", conv)), spikes(2, 3, *shape)
    met, connections = brute_force(conv, x.flatten(0, 1))
    assert 0 < met < connections
    assert count(net, x) == Counts(met / 3, 0, 0, 0, 0)
    assert count(net, x * 0.5) == Counts(0, connections / 3, 0, 0, 0)
    assert fan_out(conv, x[0]).sum() * 6 == connections


def test_a_linear_layer_costs_an_ac_for_each_spike_and_output_or_a_mac_for_each_connection():
    net, x = SpikingSequential(("linear", nn.Linear(6, 4))), spikes(3, 5, 6)
    assert count(net, x) == Counts(pytest.approx(x.sum().item() * 4 / 5), 0, 0, 0, 0)
    for real in (x * 2, -x, x + 0.5):
        assert count(net, real) == Counts(0, 3 * 6 * 4, 0, 0, 0)


def test_an_input_of_zeros_costs_no_synaptic_operation():
    assert count(SpikingSequential(("linear", nn.Linear(6, 4))), torch.zeros(3, 5, 6)) == Counts(0, 0, 0, 0, 0)
    assert count(SpikingSequential(("conv", nn.Conv2d(2, 3, 3))), torch.zeros(3, 5, 2, 4, 4)) == Counts(0, 0, 0, 0, 0)


def test_counts_add_over_batches_and_are_per_sample():
    net, x = SpikingSequential(("linear", nn.Linear(6, 4)), ("neuron", LIF())), spikes(3, 7, 6)
    whole = count(net, x)
    assert count(net, x[:, :4], x[:, 4:6], x[:, 6:]) == pytest.approx(whole)
    assert count(net, x.repeat(1, 3, 1)) == pytest.approx(whole)
    assert whole.synaptic_acs == pytest.approx(x.sum().item() * 4 / 7)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_first_layers_cost_doubles_with_the_steps_of_a_repeated_input(scale):
    net, x = SpikingSequential(("linear", nn.Linear(6, 4))), spikes(1, 5, 6) * scale
    short, long = count(net, x.expand(3, 5, 6)), count(net, x.expand(6, 5, 6))
    assert sum(short) > 0
    assert long == pytest.approx([2 * value for value in short])


@pytest.mark.parametrize("order", [1, -1])
def test_a_layer_that_once_saw_a_real_value_costs_macs_for_all_it_saw(order):
    net, batches = SpikingSequential(("linear", nn.Linear(6, 4))), [spikes(3, 4, 6), spikes(3, 2, 6)]
    batches[1][2, 1, 5] = 0.5
    assert count(net, *batches[::order]) == Counts(0, 3 * 6 * 4, 0, 0, 0)


def test_a_whole_network_costs_what_its_layers_cost_by_hand():
    net, x = unequal_net(), torch.rand(5, 6, 8) * 2
    fired = {}
    for name in ("neuron1", "neuron2"):
        getattr(net, name).register_forward_hook(lambda m, i, out, name=name: fired.update({name: out.sum().item()}))
    counts = count(net, x)
    assert min(fired.values()) > 0
    assert counts.synaptic_macs == 5 * 8 * 20  # real inputs to 20 neurons
    assert counts.synaptic_acs == pytest.approx((fired["neuron1"] * 3 + fired["neuron2"] * 4) / 6)
    # 23 LIF over 5 steps: a MAC, an AC for the input's decay and one for the reset, 4 bytes of v
    assert counts[2:] == (23 * 10, 23 * 5, 23 * 4)


@pytest.mark.parametrize("neuron", [LIF, PSU, PSN])
def test_the_neurons_own_operations_are_neurons_times_those_of_one(neuron):
    net = SpikingSequential(("conv", nn.Conv1d(2, 3, 3, padding=1)), ("neuron", neuron(num_steps=5)))
    one = neuron(num_steps=5).operations(5)
    for batch in (1, 4):  # 3 channels x 7 positions
        assert count(net, torch.rand(5, batch, 2, 7))[2:] == (21 * one.acs, 21 * one.macs, 21 * one.state_bytes)


def test_the_neurons_own_operations_are_a_mean_over_samples_where_batches_differ_in_length():
    net = SpikingSequential(("neuron", LIF()))
    assert count(net, torch.rand(8, 1, 3), torch.rand(2, 1, 3)).neuron_macs == 3 * (8 + 2) / 2


@pytest.mark.parametrize(("pool", "binary"), [(nn.AvgPool1d(2), False), (nn.MaxPool1d(2), True)])
def test_averages_of_spikes_cost_macs_and_their_maxima_acs(pool, binary):
    net = SpikingSequential(("pool", pool), ("flatten", nn.Flatten()), ("linear", nn.Linear(6, 4)))
    x = spikes(3, 5, 2, 6)
    met = x.unflatten(-1, (3, 2)).amax(-1).sum().item() * 4 / 5
    assert count(net, x) == (Counts(pytest.approx(met), 0, 0, 0, 0) if binary else Counts(0, 3 * 6 * 4, 0, 0, 0))


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_counters_work_without_autograd_and_leave_parameters_alone(mode):
    net, x = unequal_net(), torch.rand(5, 6, 8) * 2
    expected, before = count(net, x), [p.clone() for p in net.parameters()]
    with mode(), SpikeCounter(net) as counter:
        assert count(net, x) == expected
    assert counter.summary()["test/firing_rate"] > 0
    assert all(torch.equal(p, old) and p.grad is None for p, old in zip(net.parameters(), before, strict=True))


def test_energy_prices_macs_and_acs_of_synapses_and_neurons_and_no_memory():
    model = CostModel(name="two prices", mac_pj=4.6, ac_pj=0.9, source="by hand")
    counts = Counts(synaptic_acs=100, synaptic_macs=10, neuron_acs=30, neuron_macs=7, state_bytes=1000)
    assert model.energy_pj(counts) == pytest.approx(17 * 4.6 + 130 * 0.9)
    assert model.energy_pj(Counts(0, 0, 0, 0, 1000)) == 0


# Speed


class WrongMembrane(PSU):
    """Half a per cent off, in the fast form only."""

    def _membrane_and_spikes(self, x):
        h, s = super()._membrane_and_spikes(x)
        return (h * 1.005, s) if self.backend == "auto" else (h, s)


class WrongSpikes(PSU):
    """The right membrane and one wrong spike."""

    def _membrane_and_spikes(self, x):
        h, s = super()._membrane_and_spikes(x)
        s = s.clone()
        s[-1, 0, 0] = 1 - s[-1, 0, 0] if self.backend == "auto" else s[-1, 0, 0]
        return h, s


@pytest.mark.parametrize("neuron", [LIF, PSU, PSN])
def test_a_sound_neuron_passes_the_equality_check(neuron):
    assert speed.equals_reference(neuron(num_steps=16), torch.randn(16, 1, 50))


@pytest.mark.parametrize("neuron", [WrongMembrane, WrongSpikes])
def test_a_neuron_whose_fast_form_is_wrong_gets_no_timing(neuron):
    assert not speed.equals_reference(neuron(), torch.randn(8, 1, 20))
    assert speed.neuron_against_loop(neuron(), (8, 1, 20), CPU, repeats=1) == {}
    assert speed.network_against_loop(SpikingSequential(("neuron", neuron())), torch.rand(8, 2, 20)) == {}


def test_one_wrong_neuron_among_layers_of_one_shape_withholds_the_networks_speed():
    net = SpikingSequential(("neuron", PSU()), ("neuron", WrongMembrane()))
    assert speed.network_against_loop(net, torch.rand(8, 2, 20)) == {}


@pytest.mark.parametrize("neuron", [LIF, PSU, PSN])
def test_neuron_against_loop_times_both_ways_and_leaves_no_gradient(neuron):
    timed = neuron(num_steps=4)
    seconds = speed.neuron_against_loop(timed, (4, 2, 3, 5), CPU, repeats=2)
    assert set(seconds) == {"neuron_forward", "neuron_forward_backward", "lif_forward", "lif_forward_backward"}
    assert min(seconds.values()) > 0
    assert all(p.grad is None for p in timed.parameters())


def test_neuron_against_loop_works_within_inference_mode():
    with torch.inference_mode():
        assert speed.neuron_against_loop(PSU(), (4, 2, 3), CPU, repeats=1)


@pytest.mark.parametrize("neuron", [LIF, PSU, PSN])
def test_network_against_loop_gives_positive_ratios_and_leaves_no_hook(neuron):
    net = unequal_net(neuron)
    ratios = speed.network_against_loop(net, torch.rand(5, 2, 8))
    assert set(ratios) == {"speed/neuron_vs_lif_loop", "speed/neuron_vs_lif_loop_forward"}
    assert min(ratios.values()) > 0
    assert hooks(net) == 0


def test_network_against_loop_leaves_no_hook_after_an_error():
    net = unequal_net()
    with pytest.raises(RuntimeError, match="shapes"):
        speed.network_against_loop(net, torch.rand(5, 2, 9))
    assert hooks(net) == 0


def test_network_against_loop_times_each_shape_with_its_own_t_and_no_more_elements_than_allowed(monkeypatch):
    asked = []

    def timed(neuron, shape, device):
        asked.append(shape)
        keys = ("neuron_forward", "neuron_forward_backward", "lif_forward", "lif_forward_backward")
        return dict(zip(keys, (1.0, 2.0, 4.0, 20.0) if shape[2] == 20 else (3.0, 6.0, 6.0, 20.0), strict=True))

    monkeypatch.setattr(speed, "neuron_against_loop", timed)
    monkeypatch.setattr(speed, "MAX_ELEMENTS", 5 * 20 * 3 + 1)
    ratios = speed.network_against_loop(unequal_net(), torch.rand(5, 9, 8))
    assert asked == [(5, 3, 20), (5, 9, 3)]
    assert ratios["speed/neuron_vs_lif_loop_forward"] == (4 + 6) / (1 + 3)  # sums, not a mean of ratios
    assert ratios["speed/neuron_vs_lif_loop"] == (20 + 20) / (2 + 6)


def test_interleaved_takes_turns_and_drops_the_first_round(monkeypatch):
    calls, clock = [], itertools.count()
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    seconds = speed.interleaved({name: (lambda name=name: calls.append(name)) for name in "ab"}, CPU, repeats=3)
    assert calls == ["a", "b"] * 4
    assert seconds == {"a": [1, 1, 1], "b": [1, 1, 1]}


def test_samples_per_second_counts_samples_after_one_warm_up(monkeypatch):
    seen, clock = [], itertools.count(step=0.5)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(speed, "INFERENCE_SECONDS", 1.0)
    net = SpikingSequential(("flatten", nn.Flatten()))
    net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    batches = itertools.cycle([torch.rand(2, 4, 3), torch.rand(2, 6, 3)])
    assert speed.inference_samples_per_second(net, batches) == (4 + 6 + 4) / 1.5
    assert seen == [4, 4, 6, 4]
    assert speed.inference_samples_per_second(net, []) == 0
