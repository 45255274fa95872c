"""Fidelity of parallel neurons to their loops: known distances, exact limits, and the refinements of the reset."""

import numpy as np
import pytest
import torch

from snnrepro.architectures.dense import Dense
from snnrepro.errors import UserError
from snnrepro.metrics.fidelity import (
    cases,
    compare,
    measure,
    measure_trained,
    recorded_currents,
    refined_psu,
    rpsu_with_kernel_a,
    stands_for,
    synthetic_current,
    van_rossum,
)
from snnrepro.neurons import LIF, MPEPSN, PSU, LIFNoReset


def current(T: int = 32, N: int = 200, mean: float = 0.6, seed: int = 0) -> torch.Tensor:
    return synthetic_current("gaussian", T, N, mean, 0.9, torch.Generator().manual_seed(seed))


def trains(*rows: str) -> torch.Tensor:
    """Spike trains `[T, N]` from one text of 0 and 1 for each neuron."""
    return torch.tensor([[float(spike) for spike in row] for row in rows]).T


def test_a_neuron_is_at_no_distance_from_itself():
    spikes, membrane = LIF()(current()[:, None])[:, 0], current()
    found = compare((spikes, membrane), (spikes, membrane), 1.0)
    assert found == (1.0, 1.0, float(spikes.mean()), float(spikes.mean()), 0.0, 0.0)


def test_agreement_rates_and_membrane_error_are_those_counted_by_hand():
    ours, theirs = trains("1100", "0010"), trains("1010", "0000")
    found = compare((ours, torch.full((4, 2), 0.5)), (theirs, torch.full((4, 2), 0.2)), v_threshold=0.5)
    assert found.agreement == pytest.approx(2 * 1 / (3 + 2))
    assert (found.equal_steps, found.rate, found.target_rate) == (5 / 8, 3 / 8, 2 / 8)
    assert found.membrane_error == pytest.approx(0.6)


def test_two_silent_neurons_have_no_agreement_to_speak_of():
    silent = torch.zeros(4, 3), torch.zeros(4, 3)
    assert compare(silent, silent, 1.0).agreement is None


def test_van_rossum_distance_is_the_norm_of_the_filtered_difference():
    rng = np.random.default_rng(0)
    a, b = (rng.random((2, 40, 6)) < 0.3).astype(float)
    kernel = np.exp(-np.arange(40) / 3.0)
    filtered = np.stack([np.convolve(a[:, n] - b[:, n], kernel)[:40] for n in range(6)], axis=1)
    expected = np.sqrt((1 - np.exp(-2 / 3.0)) * (filtered**2).sum(0))
    np.testing.assert_allclose(van_rossum(torch.tensor(a), torch.tensor(b), tau=3.0).numpy(), expected, rtol=1e-12)


def test_van_rossum_distance_is_1_for_one_unmatched_spike_and_grows_with_the_shift_of_a_matched_one():
    spike = torch.zeros(200, 4, dtype=torch.float64)
    spike[20] = 1
    shifted = torch.zeros_like(spike)
    for neuron, shift in enumerate((0, 1, 3, 50)):
        shifted[20 + shift, neuron] = 1
    assert van_rossum(spike, torch.zeros_like(spike))[0].item() == pytest.approx(1)
    distance = van_rossum(spike, shifted)
    assert distance[0] == 0
    assert (distance[1:] > distance[:-1]).all()
    assert distance[3].item() == pytest.approx(2**0.5, rel=1e-4)


def test_a_psu_refined_often_enough_is_the_soft_reset_lif_at_tau_2_and_at_no_other():
    x = current()
    for tau, same in ((2.0, True), (3.0, False)):
        lif = LIF(tau=tau, v_threshold=0.5)
        spikes, membrane = refined_psu(x, tau, 0.5, refinements=len(x))
        assert torch.equal(spikes, lif(x[:, None])[:, 0]) == same
        assert torch.allclose(membrane, lif.membrane(x[:, None])[:, 0], atol=1e-12) == same


def test_every_refinement_makes_one_more_step_exact():
    x = current()
    exact = LIF(v_threshold=0.5).membrane(x[:, None])[:, 0]
    for refinements in range(6):
        _, membrane = refined_psu(x, 2.0, 0.5, refinements)
        torch.testing.assert_close(membrane[: refinements + 1], exact[: refinements + 1], rtol=0, atol=1e-12)
        assert not torch.allclose(membrane, exact)


def test_no_refinement_is_the_psu():
    x, psu = current(), PSU(tau=3.0, v_threshold=0.7)
    spikes, membrane = refined_psu(x, 3.0, 0.7, 0)
    assert torch.equal(spikes, psu(x[:, None])[:, 0])
    torch.testing.assert_close(membrane, psu.membrane(x[:, None])[:, 0], rtol=0, atol=1e-12)


def test_rpsu_with_the_leak_as_kernel_is_the_psu_only_at_threshold_1():
    x = current()[:, None]
    for threshold, same in ((1.0, True), (0.5, False)):
        rpsu = rpsu_with_kernel_a(len(x), 2.0, threshold).double()
        assert torch.allclose(rpsu.membrane(x), PSU(v_threshold=threshold).membrane(x), atol=1e-6) == same


def test_every_parallel_neuron_is_measured_against_its_own_loop():
    found = {case.name: (case.target, fidelity) for case, fidelity in measure(current(), 2.0, 0.5)}
    loops = {name: target for name, (target, _) in found.items() if target != "lif"}
    assert loops == {"mpe_psn": "lif_hard", "mpe_psn_local": "lif_hard", "block": "lif_single_spike"}
    exact = [name for name, (_, fidelity) in found.items() if fidelity.agreement == 1]
    assert exact == ["psu_exact", "block"]
    assert {"lif_no_reset", "psu", "rpsu_w_is_a", "spsn", "psu_refined_1"} < set(found)


def test_the_hard_reset_target_is_that_of_the_mpe_paper_at_its_decay_factor():
    x = current()
    (case,) = (case for case in cases(len(x), x.shape[1], tau=4 / 3, v_threshold=1.0) if case.name == "mpe_psn")
    v, expected = np.zeros(x.shape[1]), []
    for step in x.numpy():
        h = 0.25 * v + step
        expected.append(h)
        v = np.where(h >= 1, 0, h)
    np.testing.assert_allclose(case.run_target(x)[1].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_synthetic_current_has_the_mean_and_deviation_asked_for_and_the_same_seed_repeats_it(kind):
    x, again = (synthetic_current(kind, 100, 1000, 0.5, 0.9, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(x, again)
    assert x.mean().item() == pytest.approx(0.5, abs=0.02)
    assert x.std().item() == pytest.approx(0.9, abs=0.02)
    if kind == "poisson":
        spikes = x / (0.9**2 / 0.5)
        torch.testing.assert_close(spikes, spikes.round())


@pytest.mark.parametrize(("kind", "mean"), [("uniform", 1.0), ("poisson", 0.0)])
def test_an_impossible_input_is_a_user_error(kind, mean):
    with pytest.raises(UserError, match=r"gaussian|above 0"):
        synthetic_current(kind, 4, 4, mean, 1.0, torch.Generator())


@pytest.mark.parametrize(
    ("neuron", "target"),
    [
        (PSU(tau=3.0, v_threshold=0.5), {"tau": 3.0, "v_threshold": 0.5, "reset": "soft", "decay_input": True}),
        (LIFNoReset(v_threshold=0.7), {"tau": 2.0, "v_threshold": 0.7, "reset": "soft", "decay_input": True}),
        (MPEPSN(4, beta=0.25), {"tau": 4 / 3, "v_threshold": 1.0, "reset": "hard", "decay_input": False}),
    ],
)
def test_a_trained_neuron_stands_for_the_lif_of_its_own_threshold(neuron, target):
    lif = stands_for(neuron)
    assert {key: getattr(lif, key) for key in target} == pytest.approx(target)


def test_trained_neurons_agree_with_their_lif_where_nothing_is_reset_yet():
    torch.manual_seed(0)
    network = Dense(lambda **_: LIFNoReset(v_threshold=0.5), (6,), 3, 1, hidden=[8, 5]).eval()  # T = 1: no reset yet
    for layer, current, _, found in measure_trained(network, torch.rand(1, 2, 6)):
        assert layer in ("neuron1", "neuron2")
        assert current.shape[0] == 1
        assert (found.equal_steps, found.membrane_error) == (1.0, 0.0)


def test_recorded_currents_are_what_reaches_each_layer_and_leave_no_hook():
    torch.manual_seed(0)
    network = Dense(lambda **_: PSU(), (6,), 3, 4, hidden=[8, 5]).eval()
    x = torch.rand(4, 2, 6)
    found = recorded_currents(network, x)
    assert {name: tuple(current.shape) for name, current in found.items()} == {"neuron1": (4, 16), "neuron2": (4, 10)}
    by_hand = network.norm1(network.linear1(x.flatten(0, 1))).view(4, 16)
    torch.testing.assert_close(found["neuron1"], by_hand.detach().double())
    assert recorded_currents(network, x, max_neurons=4)["neuron1"].shape == (4, 4)
    assert not any(module._forward_pre_hooks for module in network.modules())
