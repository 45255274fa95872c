"""Firing rates, silent and saturated neurons, rates over time: against brute-force counting of the same spikes."""

import socket
import statistics

import pytest
import torch
from nets import hooks, unequal_net
from torch import multiprocessing

from snnrepro.architectures.layers import SpikingSequential
from snnrepro.metrics.operations import OperationCounter
from snnrepro.metrics.sparsity import SpikeCounter
from snnrepro.neurons import LIF


class Given(LIF):
    """Fires where its input is above 0.5, so that every spike can be chosen."""

    def _membrane_and_spikes(self, x):
        return x, (x > 0.5).to(x.dtype)


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
        "test/silent_neurons": sum(layer.silent for layer in counter.layers.values()) / 23,
        "test/saturated_neurons": sum(layer.saturated for layer in counter.layers.values()) / 23,
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
    assert set(counter.summary().values()) == {0.0}
    assert counter.layers == {}


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


def test_silent_and_saturated_neurons_are_those_that_never_and_always_fired_over_all_batches():
    chosen = torch.zeros(4, 5, 6)
    chosen[:, :, 0] = 1  # always
    chosen[:, :, 1] = 1
    chosen[2, 4, 1] = 0  # all but once, in the last batch
    chosen[3, 4, 2] = 1  # once, in the last batch
    chosen[:, 0, 3] = 1  # in one sample
    net = SpikingSequential(("neuron", Given()))
    with SpikeCounter(net) as counter:
        for batch in (chosen[:, :2], chosen[:, 2:4], chosen[:, 4:]):
            net(batch)
    layer = counter.layers["neuron1"]
    assert (layer.neurons, layer.samples, layer.silent, layer.saturated) == (6, 5, 2, 1)
    summary = counter.summary()
    assert (summary["test/silent_neurons"], summary["test/saturated_neurons"]) == (2 / 6, 1 / 6)
    assert layer.spikes_per_sample == chosen.sum() / 5


def test_neurons_of_a_feature_map_are_counted_one_by_one():
    net, x = SpikingSequential(("neuron", Given())), torch.rand(3, 4, 2, 5, 7) * 0.4 + torch.rand(2, 5, 7)
    with SpikeCounter(net) as counter:
        net(x)
    fired = (x > 0.5).sum((0, 1)).flatten()
    layer = counter.layers["neuron1"]
    assert layer.neurons == 70
    assert 0 < layer.silent == (fired == 0).sum()
    assert 0 < layer.saturated == (fired == 12).sum()


def test_the_rate_over_time_is_each_steps_own_also_where_batches_differ_in_size_and_length():
    long, short = torch.rand(6, 3, 8), torch.rand(2, 5, 8)
    net = SpikingSequential(("neuron", Given()))
    with SpikeCounter(net) as counter:
        net(short)
        net(long)
    first = [float((long[t] > 0.5).sum() + (short[t] > 0.5).sum()) / (8 * 8) for t in range(2)]
    rest = [float((long[t] > 0.5).double().mean()) for t in range(2, 6)]
    assert counter.layers["neuron1"].rate_over_time == pytest.approx(first + rest)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_counts_do_not_depend_on_the_dtype_of_the_spikes(dtype):
    x = torch.rand(5, 700, 9).round(decimals=1)
    found = []
    for given in (x, x.to(dtype)):
        net = SpikingSequential(("neuron", Given()))
        with SpikeCounter(net) as counter:
            net(given)
        found.append(counter.layers["neuron1"])
    assert found[0] == found[1]
    assert found[0].spikes > 2**11  # beyond which half precision cannot count one by one


def test_counts_under_autocast_are_those_of_the_spikes_that_the_network_saw():
    net, x = unequal_net(), torch.rand(5, 300, 8) * 2
    seen, dtypes = [], []
    net.neuron2.register_forward_hook(lambda module, inputs, out: seen.append(out.detach()))
    net.linear2.register_forward_hook(lambda module, inputs, out: dtypes.append(out.dtype))
    with SpikeCounter(net) as counter, torch.autocast("cpu", torch.bfloat16):
        net(x)
    assert dtypes == [torch.bfloat16]
    assert counter.layers["neuron2"].spikes == float(seen[0].double().sum()) > 0


def _one_of_two(rank: int, port: int, x: torch.Tensor, answer) -> None:
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.manual_seed(0)
    net = unequal_net()
    with torch.inference_mode(), SpikeCounter(net) as spikes, OperationCounter(net) as operations:
        net(x[:, :7] if rank == 0 else x[:, 7:])
    spikes.gather()
    operations.gather()
    answer.put((rank, spikes.layers, spikes.samples, operations.counts))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_that_share_the_samples_count_what_one_counts_alone():
    x = torch.rand(5, 12, 8) * 2
    torch.manual_seed(0)
    net = unequal_net()
    with SpikeCounter(net) as spikes, OperationCounter(net) as operations:
        net(x)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    processes = [context.Process(target=_one_of_two, args=(rank, port, x, answer)) for rank in range(2)]
    for process in processes:
        process.start()
    answers = [answer.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert {rank for rank, *_ in answers} == {0, 1}
    for _, layers, samples, counts in answers:
        assert layers == spikes.layers
        assert samples == 12
        assert counts == pytest.approx(operations.counts)
    assert spikes.layers["neuron1"].spikes > 0
