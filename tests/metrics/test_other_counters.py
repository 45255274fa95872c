"""Other packages' counts, equal to what the packages themselves say of the same network and inputs, and by hand.

x `[T, B, *]`, several batches, the last one smaller. The packages are given the same layers, samples first.
"""

import math
import sys
import types

import pytest
import torch
from counted_nets import BATCHES, NETS, T, blocks_net, conv1d_net, count, linear_net, made, real, signed_spikes
from nets import hooks, spikes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from snnrepro.architectures.layers import SpikingSequential
from snnrepro.architectures.readout import LeakyIntegrator
from snnrepro.metrics.operations import OperationCounter
from snnrepro.metrics.other_counters import CounterRow, OtherCounters
from snnrepro.neurons import IF, KLIF, LIF, PLIF, PSN, PSU, LIFNoReset, SlidingPSN


class SamplesFirst(nn.Module):
    """Our network as the packages call one: `[B, T, *]`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x.transpose(0, 1))


# NeuroBench


def neurobench_says(net: nn.Module, x: torch.Tensor, wrapper: str) -> dict[str, float]:
    """Its own Benchmark on x `[T, B, *]`, in batches of 3."""
    pytest.importorskip(
        "neurobench.benchmarks", reason="NeuroBench is the other side: pip install --no-deps neurobench snntorch"
    )
    from neurobench import models
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.workload.synaptic_operations import SynapticOperations

    options = {"custom_forward": True} if wrapper == "SNNTorchModel" else {}
    model = getattr(models, wrapper)(SamplesFirst(net), **options)
    data = TensorDataset(x.transpose(0, 1), torch.zeros(x.shape[1]))
    benchmark = Benchmark(model, DataLoader(data, batch_size=3), [], [], [[], [SynapticOperations]])
    return benchmark.run(quiet=True)["SynapticOperations"]


@pytest.mark.parametrize("inputs", [spikes, signed_spikes, real])
@pytest.mark.parametrize("build", NETS)
@pytest.mark.parametrize("wrapper", ["TorchModel", "SNNTorchModel"])
def test_neurobench_counts_the_same_to_the_last_operation(build, inputs, wrapper):
    net, shape = made(build)
    x = inputs(T, sum(BATCHES), *shape)
    theirs = neurobench_says(net, x, wrapper)
    row = count(net, list(x.split(BATCHES, dim=1)))["NeuroBench"]
    found = {"Effective_MACs": row.macs, "Effective_ACs": row.acs, "Dense": row.dense}
    assert found == theirs
    assert 0 < row.acs + row.macs < row.dense
    averages = build is conv1d_net  # of spikes, which are real
    assert (row.macs > 0) == (inputs is real or averages)
    assert (row.acs > 0) == (inputs is not real or not averages)


def test_neurobench_decides_between_acs_and_macs_for_each_batch():
    net, _ = made(linear_net)
    x = spikes(T, sum(BATCHES), 6)
    x[0, 0, 0] = 0.5
    theirs = neurobench_says(net, x, "TorchModel")
    row = count(net, list(x.split(BATCHES, dim=1)))["NeuroBench"]
    assert (row.macs, row.acs) == (theirs["Effective_MACs"], theirs["Effective_ACs"])
    weights = (net.linear1.weight != 0).sum(0).float()
    in_first, in_others = ((x[:, part] != 0).sum((0, 1)).float() @ weights for part in (slice(3), slice(3, 8)))
    assert row.macs * 8 == in_first
    assert row.acs * 8 > in_others > 0


# syops


@pytest.fixture
def syops(monkeypatch):
    """syops 0.0.5, which imports a progress bar and names of neurons that spikingjelly 2 no longer has."""
    neurons = pytest.importorskip("spikingjelly.activation_based.neuron", reason="syops needs spikingjelly")
    old = types.ModuleType("spikingjelly.clock_driven.neuron")
    for name in ("IFNode", "LIFNode", "ParametricLIFNode"):
        setattr(old, name, getattr(neurons, name))
        setattr(old, f"MultiStep{name}", type(f"MultiStep{name}", (nn.Module,), {}))
    bar = types.ModuleType("progress.bar")
    bar.Bar = object
    modules = {"progress": types.ModuleType("progress"), "progress.bar": bar, old.__name__: old}
    modules["spikingjelly.clock_driven"] = types.ModuleType("spikingjelly.clock_driven")
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return pytest.importorskip("syops.engine", reason="syops is the other side: pip install --no-deps syops")


def syops_says(syops, net: nn.Module, batches: list[torch.Tensor]) -> tuple[float, float, float]:
    """All operations, ACs and MACs a sample, of a network called on `[B, T, *]`."""
    counted = syops.add_syops_counting_methods(net)
    counted.start_syops_count(ost=sys.stdout, verbose=False, ignore_list=[])
    with torch.no_grad():
        for x in batches:
            counted(x.transpose(0, 1))
    (total, acs, macs, _), _ = counted.compute_average_syops_cost()
    counted.stop_syops_count()
    return total, acs, macs


@pytest.mark.parametrize("inputs", [spikes, signed_spikes, real])
@pytest.mark.parametrize("build", NETS)
def test_syops_counts_the_same(syops, build, inputs):
    net, shape = made(build, PSN)
    batches = [inputs(T, size, *shape) for size in BATCHES]
    row = count(net, batches)["syops"]
    assert (row.dense, row.acs, row.macs) == pytest.approx(syops_says(syops, SamplesFirst(net), batches), rel=1e-12)
    assert row.acs > 0
    assert (row.macs > 0) == (inputs is not spikes or build is not linear_net)


@pytest.mark.parametrize(
    ("values", "spiking"),
    [((0, 1), True), ((0.25, 0.5), True), ((0, 2), False), ((-1, 0), False), ((0, 0.5, 1), False)],
)
def test_syops_takes_any_two_values_from_0_to_1_for_spikes(syops, values, spiking):
    net = SpikingSequential(("linear", nn.Linear(6, 2)))
    x = torch.tensor(values).float().repeat(3)[:6].expand(T, 2, 6)
    row = count(net, [x])["syops"]
    assert (row.dense, row.acs, row.macs) == pytest.approx(syops_says(syops, SamplesFirst(net), [x]), rel=1e-12)
    assert (row.acs > 0, row.macs > 0) == (spiking, not spiking)


@pytest.mark.parametrize(
    ("ours", "name"), [(IF, "IFNode"), (LIF, "LIFNode"), (PLIF, "ParametricLIFNode"), (KLIF, "KLIFNode")]
)
def test_syops_counts_the_same_for_the_neurons_that_it_knows(syops, ours, name):
    functional = pytest.importorskip("spikingjelly.activation_based.functional")
    neuron = getattr(pytest.importorskip("spikingjelly.activation_based.neuron"), name)
    net, _ = made(linear_net, ours)
    other = SamplesFirst(nn.Sequential(net.linear1, neuron(v_reset=None, step_mode="m"), net.linear2))
    batches = [real(T, size, 6) for size in BATCHES]
    totals = torch.zeros(3, dtype=torch.float64)
    for x in batches:
        totals += x.shape[1] * torch.tensor(syops_says(syops, other, [x]), dtype=torch.float64)
        functional.reset_net(other)
    row = count(net, batches)["syops"]
    assert [row.dense, row.acs + row.neuron_acs, row.macs] == pytest.approx((totals / 8).tolist(), rel=1e-12)
    assert row.neuron_acs == (0 if ours is KLIF else T * 9)


# By hand


def test_a_small_network_by_hand():
    """3 inputs, Linear with bias, 2 PSN at T = 2, Linear without bias to 1 output; 2 samples."""
    net = SpikingSequential(("linear", nn.Linear(3, 2)), ("neuron", PSN(2)), ("linear", nn.Linear(2, 1, bias=False)))
    with torch.no_grad():
        net.linear1.weight.copy_(torch.tensor([[1.0, 2.0, 0.0], [0.5, 0.0, -1.0]]))
        net.linear1.bias.fill_(0.25)
        net.neuron1.weight.copy_(2 * torch.eye(2))
        net.linear2.weight.copy_(torch.tensor([[3.0, -1.0]]))
    first = [[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]]  # [T, B, 3]: 4 spikes
    # Currents [T, B, 2]: (1.25, 0.75), (0.25, -0.75); (2.25, -0.75), (0.25, 0.25). H = 2 x - 1 fires from 0.5 on:
    # (1, 1), (0, 0); (1, 0), (0, 0), which are 3 spikes.
    rows = count(net, [torch.tensor(first)])
    neurobench, syops, jelly = rows["NeuroBench"], rows["syops"], rows["spikingjelly"]

    # Weights that are not 0 for each input: 2, 1, 1. Spikes of the first input 1, of the second 1, of the third 2.
    assert neurobench.acs == (1 * 2 + 1 * 1 + 2 * 1 + 3) / 2
    assert neurobench.macs == 0
    assert neurobench.dense == (4 * 3 * 2 + 4 * 2 * 1) / 2
    assert neurobench.neuron_acs is neurobench.neuron_macs is neurobench.state_bytes is None
    assert neurobench.energy_pj == pytest.approx(4 * 0.9)

    # 4 rows of 12 inputs, 4 of them 1; the bias of 2 outputs once. 4 rows of 8 inputs, 3 of them 1.
    assert syops.dense == ((24 + 2) + 8) / 2
    assert syops.acs == pytest.approx(((24 + 2) * 4 / 12 + 8 * 3 / 8) / 2, rel=1e-6)
    assert syops.macs == syops.neuron_acs == syops.neuron_macs == 0

    # 4 spikes x 2 outputs, 3 spikes x 1. Each of 2 neurons x 2 samples: T x T MACs.
    assert jelly.acs == (4 * 2 + 3 * 1) / 2
    assert jelly.macs == 0
    assert jelly.neuron_macs == 2 * 2 * 2
    assert jelly.neuron_acs == jelly.state_bytes == 0
    # Bytes: a weight for each AC, the bias of 2 outputs in each of 4 rows.
    assert jelly.energy_pj == pytest.approx(5.5 * 0.9 + 8 * 4.6 + 4 * (5.5 + 4) * 24.96)


def test_a_convolution_by_hand():
    """One channel of 3 positions, kernel 3, padding 1, no bias: outputs of 2, 3 and 2 connections, padding left out."""
    conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)
    net = SpikingSequential(("conv", conv))
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[[1.0, 0.0, 2.0]]]))
    end, middle = torch.tensor([[[[1.0, 0.0, 0.0]]]]), torch.tensor([[[[0.0, 0.5, 0.0]]]])  # [T, B, C, 3]
    neurobench, syops, jelly = count(net, [end]).values()
    # The spike meets the tap before it and the middle one, whose weight is 0.
    assert (neurobench.acs, neurobench.macs, neurobench.dense) == (1, 0, 7)
    # Two values from 0 to 1 are spikes: a third of 3 outputs x 3 taps, padding and all.
    assert (syops.acs, syops.macs, syops.dense) == (pytest.approx(3), 0, 9)
    # 2 taps meet the spike; and 3 - 1 for adding up the 3 outputs' numbers of spikes.
    assert (jelly.acs, jelly.macs) == (2 + 2, 0)
    assert jelly.energy_pj == pytest.approx(4 * 0.9 + 4 * 2 * 24.96)

    neurobench, syops, jelly = count(net, [middle]).values()
    # The value meets three taps, one of them 0.
    assert (neurobench.acs, neurobench.macs, neurobench.dense) == (0, 2, 7)
    assert neurobench.energy_pj == pytest.approx(2 * 4.6)
    # Still two values from 0 to 1, their mean 1/6.
    assert (syops.acs, syops.macs, syops.dense) == (pytest.approx(9 / 6), 0, 9)
    # Dense with padding.
    assert (jelly.acs, jelly.macs) == (0, 9)
    assert jelly.energy_pj == pytest.approx(9 * 4.6 + 4 * 9 * 24.96)


def test_a_lif_by_hand():
    """One LIF, T = 2: what spikingjelly sees is additions, of which it makes five a step, and no decay."""
    x = torch.tensor([[[1.5]], [[0.7]]])
    rows = count(SpikingSequential(("neuron", LIF())), [x])
    # v - 0, x - v, v + (x - v) / 2, h - 1, h - s.
    assert rows["spikingjelly"].neuron_acs == 2 * 5
    assert rows["spikingjelly"].neuron_macs == 0
    assert rows["spikingjelly"].state_bytes == 2 * (4 + 4)  # read and written
    assert rows["spikingjelly"].energy_pj == pytest.approx(10 * 0.9 + 16 * 24.96)
    assert rows["syops"].neuron_acs == 2
    assert rows["syops"].energy_pj == pytest.approx(2 * 0.9)
    assert rows["NeuroBench"].energy_pj == 0


def as_table(rows: list[CounterRow]) -> str:
    lines = []
    for row in rows:
        figures = " ".join("-".rjust(9) if value is None else f"{value:9.1f}" for value in row[1:8])
        lines.append(f"{row.counter:20} {figures}  leaves out: {row.leaves_out}  also counts: {row.also_counts}")
    names = " ".join(name.rjust(9) for name in ("acs", "macs", "dense", "own acs", "own macs", "state B", "pJ"))
    return "\n".join(["", f"{'':20} {names}", *lines])


@pytest.mark.parametrize(("order", "useful"), [(None, T * T), (2, 7)])
def test_only_spikingjelly_bills_a_psn_and_bills_it_in_full_whatever_its_order(order, useful):
    make = (lambda num_steps: SlidingPSN(num_steps, order=order)) if order else PSN
    net, _ = made(linear_net, make)
    batches = [spikes(T, size, 6) for size in BATCHES]
    neurobench, syops, jelly = count(net, batches).values()
    with OperationCounter(net) as ours:
        for x in batches:
            net(x)
    found = (neurobench.neuron_macs, syops.neuron_macs, jelly.neuron_macs, ours.counts.neuron_macs)
    assert found == (None, 0, 9 * T * T, 9 * useful), as_table([neurobench, syops, jelly])
    assert jelly.acs == ours.counts.synaptic_acs  # of a Linear
    assert neurobench.acs < ours.counts.synaptic_acs  # some weights are 0
    name = "SlidingPSN" if order else "PSN"
    for row in (neurobench, syops):
        assert f"own arithmetic of {name}" in row.leaves_out, as_table([row])
    assert "own arithmetic" not in jelly.leaves_out, as_table([jelly])
    assert ("whole T x T" in jelly.also_counts) == bool(order)
    assert jelly.energy_pj > max(neurobench.energy_pj, syops.energy_pj)


@pytest.mark.parametrize("neuron", [PSU, LIFNoReset, lambda num_steps: LIF(reset="none")])
def test_a_neuron_that_no_package_has_counts_nothing_and_every_row_says_so(neuron):
    net = SpikingSequential(("neuron", neuron(num_steps=T)), ("readout", LeakyIntegrator(5)))
    rows = count(net, [real(T, 3, 5)])
    name = type(net.neuron1).__name__
    for row in rows.values():
        assert row.energy_pj == row.acs == row.macs == 0
        assert {row.neuron_acs, row.neuron_macs, row.state_bytes} <= {0, None}
        listed = row.leaves_out.split(";")[0].removeprefix("The own arithmetic of ").split(", ")
        assert listed == sorted([name, "LeakyIntegrator"])


# The context


def test_it_leaves_no_hook_even_after_an_error_and_counts_nothing_outside():
    net, shape = made(blocks_net)
    with OtherCounters(net) as counters:
        net(real(T, 2, *shape))
        assert hooks(net) > 0
    found = counters.rows()
    assert hooks(net) == 0
    net(real(T, 2, *shape))
    assert counters.rows() == found
    with pytest.raises(RuntimeError, match="channels"), OtherCounters(net):
        net(real(T, 2, 5, 5, 5))
    assert hooks(net) == 0


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("neuron", [PSN, LIF])
def test_it_counts_the_same_with_and_without_autograd_and_beside_our_own_counter(mode, neuron):
    net, shape = made(blocks_net, neuron)
    batches = [real(T, size, *shape) for size in BATCHES]
    alone = count(net, batches)
    with OperationCounter(net) as expected:
        for x in batches:
            net(x)
    with mode(), OperationCounter(net) as ours:
        assert count(net, batches) == alone
    assert ours.counts == expected.counts
    assert all(not isinstance(value, torch.Tensor) for row in alone.values() for value in row)


def test_before_any_batch_the_rows_are_zeros():
    for row in OtherCounters(made(linear_net)[0]).rows():
        assert row.acs == row.macs == row.energy_pj == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_spikes_are_counted_as_those_of_full_precision(dtype):
    x = (torch.rand(8, 40, 700) < 0.4).float()  # more spikes than fp16 can count
    rows = []
    for given in (x, x.to(dtype)):
        net = SpikingSequential(("linear", nn.Linear(700, 3))).to(given.dtype).eval()
        with OtherCounters(net) as counters:
            net(given)
        rows.append(counters.rows())
    assert float(x.sum()) > 65_504
    for full, half in zip(*rows, strict=True):
        assert (full.acs, full.macs) == pytest.approx((half.acs, half.macs), rel=1e-6)
        assert math.isfinite(half.energy_pj)
