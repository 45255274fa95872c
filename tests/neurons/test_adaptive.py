"""GLIF, ALIF and SE-adLIF beyond their rows in the table: where they start and what bounds their parameters."""

import math

import numpy as np
import pytest
import torch
from table import FEATURES, build, current, expected, gradients

from snnrepro.neurons import ALIF, GLIF, SEAdLIF


def test_glif_starts_at_the_published_values():
    neuron = GLIF(10, 200)
    start = {name: torch.sigmoid(p).detach() for name, p in neuron.named_parameters()}
    wanted = {"tau": 0.25, "v_threshold": 0.5, "linear_decay": 0.025, "v_subreset": 0.5, "conduct": 0.5}
    for name, value in wanted.items():
        torch.testing.assert_close(start[name], torch.full_like(start[name], value))
    assert neuron.conduct.shape == (10, 200)
    for gate in (neuron.alpha, neuron.beta, neuron.gamma):
        assert gate.abs().max() <= 0.1
        assert gate.std().item() == pytest.approx(0.2 / math.sqrt(12), rel=0.1)


def test_glif_gates_choose_between_the_two_ways_of_leaking_charging_and_resetting():
    x, open_, shut = torch.full((3, 1, 1), 0.75, dtype=torch.float64), float("inf"), -float("inf")

    def membrane(**gates):
        neuron = GLIF(3, 1, conduct=0.5).double()
        with torch.no_grad():
            for name, value in gates.items():
                getattr(neuron, name).fill_(value)
        return neuron.membrane(x).flatten().tolist()

    # Threshold 0.5: every step fires. Leak tau = 1/4, or linear with 0.5 / 6; a soft reset takes 0.5.
    hard = membrane(alpha=open_, beta=shut, gamma=open_)
    assert hard == pytest.approx([0.75, 0.75, 0.75])
    soft = membrane(alpha=open_, beta=shut, gamma=shut)
    assert soft == pytest.approx([0.75, 0.75 + 0.75 / 4 - 0.5, 0.75 + 0.4375 / 4])
    linear = membrane(alpha=shut, beta=shut, gamma=open_)
    assert linear == pytest.approx([0.75 - 0.5 / 6] * 3)
    gated = membrane(alpha=open_, beta=open_, gamma=open_)
    assert gated == pytest.approx([0.375, 0.375 + 0.375 / 4, 0.375 + 0.46875 / 4])


def test_glif_conducts_each_step_by_its_own_weight():
    neuron, x = build("glif", 4).double(), current("glif", 4, 3, FEATURES)
    with torch.no_grad():
        neuron.conduct.copy_(torch.randn(neuron.conduct.shape))
    h, spikes, _ = expected("glif", neuron, x)
    np.testing.assert_allclose(neuron.membrane(x).detach().numpy(), h, atol=1e-12)
    head, state = neuron.stream(x[:1])
    tail, _ = neuron.stream(x[1:], state)
    np.testing.assert_array_equal(torch.cat([head, tail]).detach().numpy(), spikes)


def test_alif_time_constants_start_normally_distributed_around_the_given_means():
    torch.manual_seed(0)
    neuron = ALIF(None, 2000, tau_m=20.0, tau_m_std=5.0, tau_adp=150.0, tau_adp_std=10.0)
    assert neuron.tau_m.mean().item() == pytest.approx(20, abs=0.5)
    assert neuron.tau_m.std().item() == pytest.approx(5, rel=0.1)
    assert neuron.tau_adp.mean().item() == pytest.approx(150, abs=1)
    assert neuron.tau_adp.std().item() == pytest.approx(10, rel=0.1)


def test_alif_threshold_rises_with_every_spike_and_falls_without():
    neuron = ALIF(None, 1, tau_m=1e-6, tau_m_std=0.0, tau_adp=2.0, tau_adp_std=0.0).double()
    x = torch.full((30, 1, 1), 0.2, dtype=torch.float64)  # h = x - theta s[t-1]
    spikes = neuron(x).flatten().tolist()
    assert spikes[0] == 1
    assert spikes[1] == 0
    assert 0 < sum(spikes) < 15


@pytest.mark.parametrize("value", [-3.0, 0.0, 0.01])
def test_alif_stays_finite_where_training_pushes_a_time_constant_below_its_least(value):
    neuron, x = build("alif", 5).double(), current("alif", 5, 3, FEATURES)
    with torch.no_grad():
        neuron.tau_m.fill_(value)
        neuron.tau_adp.fill_(value)
    assert neuron.membrane(x).isfinite().all()
    assert all(g.isfinite().all() for g in gradients(neuron, x))
    torch.testing.assert_close(neuron.membrane(x)[0], x[0] * (1 - math.exp(-10)))


def test_se_adlif_parameters_start_within_their_bounds_and_are_used_within_them():
    torch.manual_seed(0)
    neuron = SEAdLIF(None, 2000)
    for p, bound in ((neuron.a, 1), (neuron.b, 2), (neuron.tau_u_weight, 1), (neuron.tau_w_weight, 1)):
        assert 0 <= p.min() < 0.05 * bound
        assert 0.95 * bound < p.max() <= bound
    x = current("se_adlif", 5, 3, FEATURES)
    for outside, inside in (
        ({"a": 7.0, "b": 9.0, "tau_u_weight": 3.0, "tau_w_weight": 2.0}, (1.0, 2.0, 1.0, 1.0)),
        ({"a": -7.0, "b": -9.0, "tau_u_weight": -3.0, "tau_w_weight": -2.0}, (0.0, 0.0, 0.0, 0.0)),
    ):
        ours, bounded = build("se_adlif", 5).double(), build("se_adlif", 5).double()
        with torch.no_grad():
            for (name, value), edge in zip(outside.items(), inside, strict=True):
                getattr(ours, name).fill_(value)
                getattr(bounded, name).fill_(edge)
        assert torch.equal(ours.membrane(x), bounded.membrane(x))


def test_se_adlif_decays_from_the_shortest_to_the_longest_time_constant():
    x = torch.ones(2, 1, 2, dtype=torch.float64)
    neuron = SEAdLIF(None, 2, v_threshold=100.0, tau_u_range=[5.0, 25.0]).double()
    with torch.no_grad():
        neuron.tau_u_weight.copy_(torch.tensor([0.0, 1.0]))
    wanted = [1 - math.exp(-1 / 5), 1 - math.exp(-1 / 25)]
    assert neuron.membrane(x)[0, 0].tolist() == pytest.approx(wanted, rel=1e-12)
