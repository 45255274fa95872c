"""Operations of networks small enough to count by hand, or by plain Python loops over every synapse."""

import itertools

import pytest
import torch
from nets import arithmetic, count, spikes, unequal_net
from torch import nn

from snnrepro.architectures.layers import SpikingSequential
from snnrepro.metrics.operations import LayerCounts, OperationCounter, fan_out
from snnrepro.metrics.sparsity import SpikeCounter
from snnrepro.neurons import IPSU, LIF, PSN, PSU, RPSU, MaskedPSN, SlidingPSN


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
    assert arithmetic(net, x) == (met / 3, 0, 0, 0, 0)
    assert arithmetic(net, x * 0.5) == (0, connections / 3, 0, 0, 0)
    assert fan_out(conv, x[0]).sum() * 6 == connections


def test_a_linear_layer_costs_an_ac_for_each_spike_and_output_or_a_mac_for_each_connection():
    net, x = SpikingSequential(("linear", nn.Linear(6, 4))), spikes(3, 5, 6)
    assert arithmetic(net, x) == (pytest.approx(x.sum().item() * 4 / 5), 0, 0, 0, 0)
    for real in (x * 2, -x, x + 0.5):
        assert arithmetic(net, real) == (0, 3 * 6 * 4, 0, 0, 0)


def test_an_input_of_zeros_costs_no_synaptic_operation():
    assert arithmetic(SpikingSequential(("linear", nn.Linear(6, 4))), torch.zeros(3, 5, 6)) == (0, 0, 0, 0, 0)
    assert arithmetic(SpikingSequential(("conv", nn.Conv2d(2, 3, 3))), torch.zeros(3, 5, 2, 4, 4)) == (0, 0, 0, 0, 0)


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
    assert sum(short[:5]) > 0
    assert long[:5] == pytest.approx([2 * value for value in short[:5]])
    assert long.dense_macs == 2 * short.dense_macs == 6 * 6 * 4
    # An ANN sees the image once, however long the spiking network looks at it.
    assert long.ann_macs == short.ann_macs == 6 * 4


@pytest.mark.parametrize("order", [1, -1])
def test_a_layer_that_once_saw_a_real_value_costs_macs_for_all_it_saw(order):
    net, batches = SpikingSequential(("linear", nn.Linear(6, 4))), [spikes(3, 4, 6), spikes(3, 2, 6)]
    batches[1][2, 1, 5] = 0.5
    assert arithmetic(net, *batches[::order]) == (0, 3 * 6 * 4, 0, 0, 0)


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
    assert counts[2:5] == (23 * 10, 23 * 5, 23 * 4)


@pytest.mark.parametrize("neuron", [LIF, PSU, PSN])
def test_the_neurons_own_operations_are_neurons_times_those_of_one(neuron):
    net = SpikingSequential(("conv", nn.Conv1d(2, 3, 3, padding=1)), ("neuron", neuron(num_steps=5)))
    one = neuron(num_steps=5).operations(5)
    for batch in (1, 4):  # 3 channels x 7 positions
        counts = count(net, torch.rand(5, batch, 2, 7))
        assert counts[2:5] == (21 * one.acs, 21 * one.macs, 21 * one.state_bytes)
        assert counts.state_accesses == 21 * one.accesses(5)
        assert counts.function_evaluations == 21 * one.function_evaluations


def test_the_neurons_own_operations_are_a_mean_over_samples_where_batches_differ_in_length():
    net = SpikingSequential(("neuron", LIF()))
    assert count(net, torch.rand(8, 1, 3), torch.rand(2, 1, 3)).neuron_macs == 3 * (8 + 2) / 2


@pytest.mark.parametrize(("pool", "binary"), [(nn.AvgPool1d(2), False), (nn.MaxPool1d(2), True)])
def test_averages_of_spikes_cost_macs_and_their_maxima_acs(pool, binary):
    net = SpikingSequential(("pool", pool), ("flatten", nn.Flatten()), ("linear", nn.Linear(6, 4)))
    x = spikes(3, 5, 2, 6)
    met = x.unflatten(-1, (3, 2)).amax(-1).sum().item() * 4 / 5
    assert arithmetic(net, x) == ((pytest.approx(met), 0, 0, 0, 0) if binary else (0, 3 * 6 * 4, 0, 0, 0))


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_counters_work_without_autograd_and_leave_parameters_alone(mode):
    net, x = unequal_net(), torch.rand(5, 6, 8) * 2
    expected, before = count(net, x), [p.clone() for p in net.parameters()]
    with mode(), SpikeCounter(net) as counter:
        assert count(net, x) == expected
    assert counter.summary()["test/firing_rate"] > 0
    assert all(torch.equal(p, old) and p.grad is None for p, old in zip(net.parameters(), before, strict=True))


def test_an_ann_makes_a_pass_for_every_step_of_a_sequence_and_one_for_a_repeated_image():
    net = SpikingSequential(("linear", nn.Linear(6, 4)), ("neuron", LIF()), ("readout", nn.Linear(4, 2)))
    one = 6 * 4 + 4 * 2
    image, sequence = torch.rand(1, 5, 6).expand(3, 5, 6), torch.rand(3, 5, 6)
    assert count(net, image).ann_macs == one
    assert count(net, image.clone()).ann_macs == one  # by its values, not by being a view
    assert count(net, sequence).ann_macs == 3 * one
    assert count(net, image, sequence).ann_macs == 2 * one  # a mean over samples
    almost = image.clone()
    almost[2, 4, 5] += 1
    assert count(net, almost).ann_macs == 3 * one
    assert count(net, image).dense_macs == count(net, sequence).dense_macs == 3 * one


def test_a_batch_norm_costs_a_mac_for_every_value_beside_the_synapses():
    net = SpikingSequential(
        ("conv", nn.Conv1d(2, 3, 3, padding=1)), ("norm", nn.BatchNorm1d(3)), ("neuron", LIF())
    ).eval()
    counts = count(net, torch.rand(5, 4, 2, 7), torch.rand(5, 1, 2, 7))
    assert counts.norm_macs == counts.ann_norm_macs == 5 * 3 * 7
    assert count(net, torch.rand(1, 4, 2, 7).expand(5, 4, 2, 7)).ann_norm_macs == 3 * 7  # the ANN sees an image once
    assert counts.synaptic_macs == 5 * (2 * 3 * (3 * 7 - 2))  # two taps of the ends fall on padding


def test_parameters_are_four_bytes_each_whatever_was_seen():
    net = SpikingSequential(("linear", nn.Linear(6, 4)), ("norm", nn.BatchNorm1d(4)), ("neuron", PSN(3))).eval()
    assert count(net).parameter_bytes == count(net, torch.rand(3, 2, 6)).parameter_bytes == 4 * (28 + 8 + 12)


@pytest.mark.parametrize(
    ("neuron", "accesses"),
    [
        (LIF(), 2 * 5),  # v is read and written at every step
        (PSU(), 2 * 2 * 5),  # two running sums
        (PSN(5), 5 + 25),  # every input is written once and read for each of 5 outputs
        (SlidingPSN(order=2), 5 + (1 + 2 + 2 + 2 + 2)),
        (MaskedPSN(5, order=2), 5 + 25),  # not masked yet
        (MaskedPSN(5, order=2, lambda_=1.0), 5 + (1 + 2 + 2 + 2 + 2)),
        (IPSU(5, reset="released"), 5 + (1 + 2 + 3 + 4 + 5)),
        (IPSU(5, reset="estimated"), 5 + (1 + 2 + 3 + 4 + 5) + 2 * 5),
        (RPSU(5), 5 + (1 + 2 + 3 + 4 + 5) + 2 * 2 * 5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_neuron_reads_and_writes_what_it_keeps(neuron, accesses):
    assert neuron.operations(5).accesses(5) == accesses


def test_layers_are_listed_in_the_networks_order_and_add_up_to_the_whole():
    net, x = unequal_net(PSU), torch.rand(5, 6, 8) * 2
    with OperationCounter(net) as counter:
        net(x)
    layers, counts = counter.layers, counter.counts
    assert list(layers) == ["linear1", "neuron1", "linear2", "neuron2", "readout1"]
    assert layers["linear1"] == LayerCounts(0, 5 * 8 * 20, 5 * 8 * 20, spike_driven=False)
    assert layers["linear2"].spike_driven
    assert layers["neuron1"].state_bytes == 20 * 8
    assert sum(layer.acs for layer in layers.values()) == pytest.approx(counts.synaptic_acs + counts.neuron_acs)
    assert sum(layer.macs for layer in layers.values()) == counts.synaptic_macs + counts.neuron_macs
    assert sum(layer.dense_macs or 0 for layer in layers.values()) == counts.dense_macs
