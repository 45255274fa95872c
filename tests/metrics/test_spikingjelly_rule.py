"""The rule of spikingjelly's SimpleEnergyProfiler, equal to what it says itself of its own neurons in the same network.

x `[T, B, *]`, several batches, the last one smaller.
"""

import copy

import pytest
import torch
from counted_nets import BATCHES, NETS, T, attention_net, blocks_net, count, dense_net, made, real
from nets import spikes
from torch import nn

from snnrepro.architectures.layers import SpikingSequential, TimeLayer
from snnrepro.metrics.other_counters import CounterRow
from snnrepro.metrics.sparsity import SpikeCounter
from snnrepro.neurons import IF, KLIF, LIF, PLIF, PSN, MaskedPSN, SlidingPSN, load_spikingjelly


class Twin(TimeLayer):
    """spikingjelly's neuron in a network of ours."""

    def __init__(self, neuron: nn.Module) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.neuron(x)


def with_twins(net: nn.Module) -> nn.Module:
    """A copy in which every PSN and LIF is spikingjelly's."""
    theirs = pytest.importorskip("spikingjelly.activation_based.neuron", reason="spikingjelly is the other side")
    net = copy.deepcopy(net)
    for name, module in list(net.named_modules()):
        if isinstance(module, PSN | LIF):
            parent, _, child = name.rpartition(".")
            if isinstance(module, PSN):
                other = theirs.PSN(T)
                other.load_state_dict({"weight": module.weight, "bias": module.bias[:, None]})
            else:
                other = theirs.LIFNode(tau=module.tau, v_reset=None, step_mode="m")
            setattr(net.get_submodule(parent), child, Twin(other))
    return net


def spikingjelly_says(net: nn.Module, batches: list[torch.Tensor]) -> dict[str, float]:
    """Totals of its SimpleEnergyProfiler over all batches, divided by the samples."""
    functional = pytest.importorskip("spikingjelly.activation_based.functional")
    from spikingjelly.activation_based.op_counter import estimate_simple_energy

    totals: dict[str, float] = {}
    for x in batches:
        report = estimate_simple_energy(net.eval(), (x,))
        functional.reset_net(net)
        found = {**report.counts, "energy": report.energy_total_pj}
        totals = {key: totals.get(key, 0) + value for key, value in found.items()}
    samples = sum(x.shape[1] for x in batches)
    return {key: value / samples for key, value in totals.items()}


def assert_spikingjelly_agrees(row: CounterRow, theirs: dict[str, float]) -> None:
    state = theirs["neuron_state_read_bytes"] + theirs["neuron_state_write_bytes"]
    found = (row.acs + row.neuron_acs, row.macs + row.neuron_macs, row.state_bytes)
    assert found == (theirs["ac"], theirs["mac"], state)
    assert row.energy_pj == pytest.approx(theirs["energy"], rel=1e-12)
    assert row.energy_pj > 0


def integrate_and_fire() -> list:
    resets = [{"reset": "soft"}, {"reset": "hard"}, {"reset": "hard", "v_reset": 0.25}]
    kinds = [(IF, "IFNode", {})]
    for decay in (True, False):
        kinds += [
            (LIF, "LIFNode", {"tau": 3.0, "decay_input": decay}),
            (PLIF, "ParametricLIFNode", {"decay_input": decay}),
            (KLIF, "KLIFNode", {"tau": 3.0, "decay_input": decay, "scale_reset": decay}),
        ]
    return [(kind, name, settings, reset) for kind, name, settings in kinds for reset in resets]


@pytest.mark.parametrize("input_", [real, spikes, torch.zeros], ids=["real", "spikes", "silence"])
@pytest.mark.parametrize(("kind", "name", "settings", "reset"), integrate_and_fire())
def test_spikingjelly_counts_the_same_for_every_integrate_and_fire_neuron(kind, name, settings, reset, input_):
    theirs = pytest.importorskip("spikingjelly.activation_based.neuron", reason="spikingjelly is the other side")
    v_reset = None if reset["reset"] == "soft" else reset.get("v_reset", 0.0)
    other = getattr(theirs, name)(**settings, v_reset=v_reset, step_mode="m")
    ours = kind(**settings, **reset)
    if kind is KLIF:
        nn.init.constant_(ours.k, 1.3)
        nn.init.constant_(other.k, 1.3)
    batches = [2 * input_(T, size, 5) for size in BATCHES]
    row = count(SpikingSequential(("neuron", ours)), batches)["spikingjelly"]
    assert_spikingjelly_agrees(row, spikingjelly_says(other, batches))
    assert row.neuron_macs == row.acs == row.macs == 0
    assert row.state_bytes == 2 * 4 * T * 5
    per_step = (3 if kind is IF else 5) + (reset["reset"] == "hard")
    assert row.neuron_acs <= per_step * T * 5


PSNS = [
    ("PSN", {}, lambda: PSN(T)),
    ("MaskedPSN", {"k": 2, "lambda_init": 0.0}, lambda: MaskedPSN(T, order=2, lambda_=0.0)),
    ("MaskedPSN", {"k": 2, "lambda_init": 0.5}, lambda: MaskedPSN(T, order=2, lambda_=0.5)),
    ("MaskedPSN", {"k": 2, "lambda_init": 1.0}, lambda: MaskedPSN(T, order=2, lambda_=1.0)),
    ("SlidingPSN", {"k": 2}, lambda: SlidingPSN(T, order=2)),
    ("SlidingPSN", {"k": 1}, lambda: SlidingPSN(T, order=1)),  # whose weight is 1
]


@pytest.mark.parametrize("input_", [real, spikes, torch.zeros], ids=["real", "spikes", "silence"])
@pytest.mark.parametrize(("name", "settings", "make"), PSNS, ids=lambda value: "" if callable(value) else str(value))
def test_spikingjelly_counts_the_same_for_every_psn(name, settings, make, input_):
    theirs = pytest.importorskip("spikingjelly.activation_based.neuron", reason="spikingjelly is the other side")
    steps = {} if name == "SlidingPSN" else {"T": T}
    other = getattr(theirs, name)(**steps, **settings, **({} if name == "PSN" else {"step_mode": "m"}))
    ours = make()
    load_spikingjelly(ours, other)
    batches = [input_(T, size, 5) for size in BATCHES]
    row = count(SpikingSequential(("neuron", ours)), batches)["spikingjelly"]
    says = spikingjelly_says(other, batches)
    assert (row.neuron_acs, row.neuron_macs, row.state_bytes) == (says["ac"], says["mac"], 0)
    if input_ is real and settings != {"k": 1}:
        assert row.neuron_macs == T * T * 5


@pytest.mark.parametrize("inputs", [spikes, real])
@pytest.mark.parametrize("neuron", [PSN, LIF])
@pytest.mark.parametrize("build", [*NETS, blocks_net, attention_net, dense_net])
def test_spikingjelly_counts_the_same_for_whole_networks(build, neuron, inputs):
    net, shape = made(build, neuron)
    batches = [inputs(T, size, *shape) for size in BATCHES]
    with SpikeCounter(net) as fired:
        row = count(net, batches)["spikingjelly"]
    assert_spikingjelly_agrees(row, spikingjelly_says(with_twins(net), batches))
    assert all(0 < layer.rate < 1 for layer in fired.layers.values())
    assert row.acs > 0
    assert row.neuron_acs + row.neuron_macs > 0


@pytest.mark.parametrize("inputs", [spikes, real])
@pytest.mark.parametrize("layer", [nn.Conv1d(4, 6, 3, padding=1, groups=2), nn.Linear(6, 3), nn.Linear(6, 3, False)])
def test_spikingjelly_counts_weights_of_0_and_1_as_spikes(layer, inputs):
    with torch.no_grad():
        layer.weight.copy_(layer.weight > 0)
    net = SpikingSequential(("layer", layer))
    batches = [inputs(T, size, *((4, 6) if isinstance(layer, nn.Conv1d) else (6,))) for size in BATCHES]
    row = count(net, batches)["spikingjelly"]
    assert_spikingjelly_agrees(row, spikingjelly_says(net, batches))
    assert row.acs > row.macs == 0


@pytest.mark.parametrize(
    "layer", [nn.AdaptiveAvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(3, 2, 1), nn.BatchNorm2d(4, affine=False)]
)
def test_spikingjelly_counts_the_same_for_layers_without_weights(layer):
    net = SpikingSequential(("layer", layer))
    batches = [real(T, size, 4, 6, 6) for size in BATCHES]
    row = count(net, batches)["spikingjelly"]
    says = spikingjelly_says(net, batches)
    assert (row.acs, row.macs, row.energy_pj) == (says["ac"], says["mac"], pytest.approx(says["energy"], rel=1e-12))
    assert (row.acs == 0) == (isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size == 2)
