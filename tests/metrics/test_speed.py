"""Times that mean something: equality checks that gate them, turns taken, ratios and their range."""

import itertools

import pytest
import torch
from torch import nn

from snnrepro.architectures.dense import Dense
from snnrepro.architectures.layers import SpikingSequential
from snnrepro.metrics import speed
from snnrepro.neurons import LIF, PSN, PSU

CPU = torch.device("cpu")


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


def unequal_net(neuron=LIF) -> Dense:
    """8 inputs, layers of 20 and 3 neurons, 4 classes, T = 5."""
    return Dense(neuron, (8,), 4, 5, hidden=(20, 3)).eval()


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


def test_compared_gives_medians_extremes_and_the_range_of_the_rounds_ratios():
    found = speed.compared([1.0, 2.0, 4.0], [6.0, 8.0, 4.0])
    assert found == {
        "seconds": 2,
        "seconds_min": 1,
        "seconds_max": 4,
        "baseline_seconds": 6,
        "baseline_seconds_min": 4,
        "baseline_seconds_max": 8,
        "speedup": 3,
        "speedup_low": 1,
        "speedup_high": 6,
    }


def test_the_ratio_of_the_medians_lies_between_the_rounds_extremes():
    generator = torch.Generator().manual_seed(0)
    for repeats in (1, 2, 5, 6):
        own, baseline = torch.rand(2, repeats, generator=generator).add(0.01).tolist()
        found = speed.compared(own, baseline)
        assert found["speedup_low"] <= found["speedup"] <= found["speedup_high"]


@pytest.mark.parametrize(("own", "baseline"), [([], [1.0]), ([1.0], []), ([], [])])
def test_compared_has_no_times_where_either_side_has_none(own, baseline):
    found = speed.compared(own, baseline)
    assert set(found) == set(speed.compared([1.0], [1.0]))
    assert set(found.values()) == {None}


def test_both_passes_of_a_module_run_and_leave_no_gradient_on_its_input():
    linear, seen = nn.Linear(3, 3), []
    linear.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output.requires_grad)))
    runs = speed.passes(linear, torch.rand(4, 1, 3))
    for kind in ("forward", "forward_backward"):
        runs[kind]()
    assert [with_gradient for _, with_gradient in seen] == [False, True]
    assert seen[1][0].grad is None
    assert linear.weight.grad is not None


def test_halves_of_a_pass_are_timed_by_module_after_a_warm_up_and_add_up(monkeypatch):
    clock, calls = itertools.count(), []
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock) ** 2)
    modules = {name: nn.Linear(3, 2) for name in "ab"}
    for name, module in modules.items():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    seconds = speed.forward_then_backward(modules, torch.rand(4, 1, 3), repeats=2)
    assert calls == ["a", "b"] * 3
    for name, first in {"a": (6, 12), "b": (9, 15)}.items():
        halves = [((n + 1) ** 2 - n**2, (n + 2) ** 2 - (n + 1) ** 2) for n in first]
        assert seconds[name]["forward"] == [forward for forward, _ in halves]
        assert seconds[name]["backward"] == [backward for _, backward in halves]
        assert seconds[name]["total"] == [sum(both) for both in halves]
    assert all(p.grad is None for module in modules.values() for p in module.parameters())
