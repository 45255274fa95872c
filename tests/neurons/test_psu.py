"""The PSU family and SPSN beyond their rows in the table: the paper's matrices, other time constants, first weights."""

import formulas
import numpy as np
import pytest
import torch
from formulas import Spike, psu_matrices
from table import FAR, build, current, gradients, noise

from snnrepro.neurons import IPSU, LIF, PSU, RPSU, SPSN
from snnrepro.neurons.psu import psu_kernels


def test_psu_with_true_spikes_for_its_estimate_is_the_soft_reset_lif_at_tau_2_and_not_at_3():
    x, gap = current("psu", 16, 40), {}
    for tau in (2.0, 3.0):
        A, R = psu_matrices(16, tau)  # R is negative: the reset is added
        lif = LIF(tau=tau, v_threshold=0.5)
        gap[tau] = np.abs(A @ x.numpy() + 0.5 * R @ lif(x).numpy() - lif.membrane(x).numpy()).max()
    assert gap[2.0] < 1e-12
    assert gap[3.0] > 0.1


@pytest.mark.parametrize("tau", [1.0, 2.0, 50.0])
def test_psu_kernels_are_the_papers_matrices_and_stay_finite_over_a_thousand_steps(tau):
    for ours, papers in zip(psu_kernels(9, tau, torch.empty(0).double()), psu_matrices(9, tau), strict=True):
        np.testing.assert_allclose(ours.numpy(), papers, rtol=1e-13)
    assert all(kernel.isfinite().all() for kernel in psu_kernels(1000, tau, torch.empty(0)))


VARIANTS = {
    "psu": (PSU, formulas.psu, {"v_threshold": 1.5}),
    "ipsu": (IPSU, formulas.ipsu, {"v_threshold": 1.5}),
    "ipsu_estimated": (IPSU, formulas.ipsu_estimated, {"v_threshold": 1.5, "reset": "estimated"}),
    "rpsu": (RPSU, formulas.rpsu, {"v_threshold": 1.5}),
    "spsn": (SPSN, formulas.spsn, {}),
}


@pytest.mark.parametrize("name", list(VARIANTS))
@pytest.mark.parametrize("tau", [1.0, 3.0, 5.0])
def test_membrane_and_spikes_equal_the_papers_sums_at_another_tau_and_threshold(name, tau):
    neuron, formula, changes = VARIANTS[name]
    x = current("psu", 16, 40)
    drawn = noise(name, x)
    for backend in neuron.backends:
        torch.manual_seed(1)
        ours, fire = neuron(16, tau=tau, backend=backend, **changes).double(), Spike(at_threshold=False)
        with torch.no_grad():
            for p in ours.parameters():  # the bias starts at 0, where a wrong one would not show
                p.add_(0.125)
        h, spikes = formula(ours, x.numpy(), drawn["noise"].numpy() if drawn else None, fire)
        assert fire.margin > FAR
        np.testing.assert_allclose(ours.membrane(x, **drawn).detach().numpy(), h, rtol=0, atol=1e-11)
        np.testing.assert_array_equal(ours(x, **drawn).detach().numpy(), spikes)
        np.testing.assert_array_equal(ours.stream(x, **drawn)[0].detach().numpy(), spikes)


@pytest.mark.parametrize("neuron", [IPSU, RPSU])
def test_learned_weights_start_normal_with_variance_2_over_t_and_the_bias_at_0(neuron):
    torch.manual_seed(1)
    neuron = neuron(64)
    assert not neuron.bias.any()
    assert neuron.weight.mean().item() == pytest.approx(0, abs=0.01)
    assert neuron.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.05)


@pytest.mark.parametrize("name", ["ipsu", "ipsu_estimated", "rpsu"])
def test_weights_above_the_diagonal_are_never_used(name):
    neuron, other, x = build(name, 6).double(), build(name, 6).double(), current(name, 6, 3, 4)
    with torch.no_grad():
        other.weight.add_(torch.ones(6, 6).triu(1))
    assert torch.equal(neuron.membrane(x), other.membrane(x))
    assert not gradients(neuron, x)[1].triu(1).any()


def test_rpsu_learns_nothing_from_one_step_since_its_reset_reaches_no_further():
    neuron, x = build("rpsu", 1).double(), current("rpsu", 1, 3, 4)
    _, to_weight, to_bias, _ = gradients(neuron, x)
    assert not to_weight.any()
    assert not to_bias.any()
