"""Baselines are what they claim to be, and one that is not is found out."""

import os

import pytest
import torch
from torch import nn

from snnrepro.metrics import baselines
from snnrepro.metrics.baselines import Baseline, agrees, of_neuron
from snnrepro.neurons import IF, KLIF, LIF, PLIF, PSN, PSU, MaskedPSN, SlidingPSN

CPU = torch.device("cpu")
T = 6


def current() -> torch.Tensor:
    return 1 + 2 * torch.randn(T, 1, 200)


class Changed(nn.Module):
    """A LIF with one spike of neuron 3 turned over at step `at`."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.lif, self.at = LIF(), at

    def forward(self, x):
        spikes = self.lif(x).clone()
        spikes[self.at, 0, 3] = 1 - spikes[self.at, 0, 3]
        return spikes


@pytest.mark.parametrize("at", range(T))
def test_one_wrong_spike_is_found(at):
    x = current()
    x[:, 0, 3] = 0.9  # never near the threshold
    assert agrees(Baseline("lif", LIF(), of_neuron(LIF())), x)
    assert not agrees(Baseline("changed", Changed(at), of_neuron(LIF())), x)


def test_spikes_are_not_compared_once_rounding_may_have_decided_one():
    x = current()
    x[:, 0, 3] = torch.tensor([0.5, 1.75, 0.5, 0.5, 0.5, 0.5])  # h = 0.25, 1: on the threshold at the second step
    assert LIF().membrane(x)[1, 0, 3] == 1
    assert not agrees(Baseline("changed", Changed(0), of_neuron(LIF())), x)
    assert agrees(Baseline("changed", Changed(2), of_neuron(LIF())), x)


def test_where_nothing_can_be_compared_nothing_agrees():
    lif = LIF()
    assert not agrees(Baseline("lif", lif, of_neuron(lif)), torch.full((T, 1, 4), 2.0))


def test_the_loop_is_the_lif_at_its_defaults():
    x = current()
    assert agrees(baselines.loop(), x)
    assert torch.equal(baselines.loop().module(x), LIF()(x))


NEURONS = {
    "if": IF(),
    "if_hard": IF(reset="hard", v_threshold=0.7, v_reset=-0.2),
    "plif": PLIF(tau=3.0),
    "klif": KLIF(scale_reset=True),
    "psn": PSN(T),
    "masked_psn": MaskedPSN(T, order=2, lambda_=0.5),
    "sliding_psn": SlidingPSN(order=3),
}


@pytest.mark.parametrize("neuron", NEURONS.values(), ids=NEURONS)
def test_a_twin_of_spikingjelly_gives_the_neurons_spikes_call_after_call(neuron):
    pytest.importorskip("spikingjelly")
    before = {name: value.clone() for name, value in neuron.state_dict().items()}
    twin = baselines.spikingjelly_twin(neuron)
    assert type(twin.module.node).__module__.startswith("spikingjelly")
    x = current()
    for _ in range(2):
        assert agrees(twin, x)
    assert 0 < twin.module(x).mean() < 1
    assert all(torch.equal(value, before[name]) for name, value in neuron.state_dict().items())


def test_the_lif_of_spikingjelly_gives_the_loops_spikes_call_after_call():
    pytest.importorskip("spikingjelly")
    x, baseline = current(), baselines.spikingjelly_lif()
    for _ in range(2):
        assert agrees(baseline, x)
    assert baseline.version == baselines.version("spikingjelly")


@pytest.mark.parametrize("neuron", [LIF(), PSU()])
def test_what_spikingjelly_has_not_or_is_its_lif_has_no_twin(neuron):
    pytest.importorskip("spikingjelly")
    assert baselines.spikingjelly_twin(neuron) is None


def test_the_leaky_of_snntorch_gives_the_spikes_of_its_equation_call_after_call():
    pytest.importorskip("snntorch")
    x, baseline = current(), baselines.snntorch_leaky()
    for _ in range(2):
        assert agrees(baseline, x)
    assert not agrees(baseline._replace(expected=of_neuron(LIF(decay_input=False))), x)


def test_the_equation_of_a_delayed_reset_by_hand():
    spikes, distance = baselines.delayed_reset(torch.tensor([2.0, 0.5, 0.5, 3.0])[:, None, None])
    # h = 2, 1 + 0.5 - 1, 0.25 + 0.5, 0.375 + 3
    assert distance.flatten().tolist() == [1.0, -0.5, -0.25, 2.375]
    assert spikes.flatten().tolist() == [1, 0, 0, 1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_loops_give_the_loops_spikes_and_gradients_at_sizes_they_were_not_compiled_for(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    lines: list[str] = []
    found = {base.name: base for base in baselines.compiled(2, torch.float32, CPU, lines.append)}
    assert set(found) == {"compiled_loop", "compiled_step"}
    assert all("compiled in" in line for line in lines)
    with torch.compiler.set_stance("fail_on_recompile"):
        for size in (40, 256):
            x = torch.randn(2, 1, size)
            expected = x.clone().requires_grad_(True)
            LIF()(expected).sum().backward()
            for base in found.values():
                assert agrees(base, x)
                mine = x.clone().requires_grad_(True)
                base.module(mine).sum().backward()
                torch.testing.assert_close(mine.grad, expected.grad)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method. is deprecated:DeprecationWarning")  # its own use
def test_beyond_the_cap_only_the_step_is_compiled_and_a_failure_is_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    lines: list[str] = []
    # Its own way to patch: monkeypatch deletes the setting when it is done, and nothing compiles after that.
    with torch._inductor.config.patch({"cpp.cxx": (None, os.devnull)}):
        assert baselines.compiled(baselines.LONGEST_COMPILED_LOOP + 1, torch.float32, CPU, lines.append) == []
    assert len(lines) == 1
    assert "compiled_step" in lines[0]
    assert "did not compile" in lines[0]
    assert "\n" not in lines[0]
