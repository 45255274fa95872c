"""What the papers say of their neurons beside each one's formula: identities, gradients, losses, schedules, starts."""

import copy

import numpy as np
import pytest
import torch
from formulas import over_time, psu_matrices
from hypothesis import given, settings
from hypothesis import strategies as st

from snnrepro.errors import UserError
from snnrepro.neurons import IPSU, MPEPSN, PSN, PSU, RPSU, Block, LIFSingleSpike, MaskedPSN, SlidingPSN

FAR = 1e-9  # nothing here lies closer to a threshold
several_taus = pytest.mark.parametrize("tau", [1.0, 2.0, 3.5])


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def current(T: int, *rest: int, seed: int = 0) -> torch.Tensor:
    return 1 + 2 * normal(T, *rest, seed=seed)


def stand_in(G):
    """A spike written for autograd: exactly the step forward, the smooth G backward."""
    return lambda u: (u > 0).to(u) + (G(u) - G(u).detach())


def fast_sigmoid(alpha):  # slope 1 / (1 + alpha |u|)^2
    return stand_in(lambda u: u / (1 + alpha * u.abs()))


def triangle(u):  # slope max(0, 1 - |u|)
    z = u.clamp(-1, 1)
    return z - z * z.abs() / 2


def assert_same_gradients(ours, expected, leaves, rtol=1e-10):
    """Of two scalars; every gradient is somewhere other than 0."""
    for found, wanted in zip(*(torch.autograd.grad(y, leaves) for y in (ours, expected)), strict=True):
        assert wanted.abs().max() > 0
        torch.testing.assert_close(found, wanted, rtol=rtol, atol=rtol * wanted.abs().max().item())


# PSU, arXiv 2402.00449


@several_taus
@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_rpsu_that_estimates_from_the_membrane_without_reset_is_the_psu_of_threshold_1(tau, backend):
    x = current(9, 4, 5)
    rpsu, psu = RPSU(9, tau=tau, v_threshold=1.0, backend=backend).double(), PSU(tau=tau, v_threshold=1.0)
    with torch.no_grad():
        rpsu.weight.copy_(torch.tensor(psu_matrices(9, tau)[0]))
    assert (psu.membrane(x) - 1).abs().min() > FAR
    torch.testing.assert_close(rpsu.membrane(x), psu.membrane(x), rtol=0, atol=1e-12)
    assert torch.equal(rpsu(x), psu(x))
    # R is not scaled by the threshold: at another one the two differ.
    other = PSU(tau=tau, v_threshold=0.5)
    assert (rpsu.membrane(x) - other.membrane(x)).abs().max() > 0.1


@several_taus
@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_ipsu_as_released_is_one_product_with_its_lower_weight_and_r(tau, backend):
    torch.manual_seed(0)
    x, neuron = current(9, 4, 5), IPSU(9, tau=tau, backend=backend).double()
    with torch.no_grad():
        neuron.bias.copy_(normal(9, seed=3))
    matrix = np.tril(neuron.weight.detach().numpy()) + psu_matrices(9, tau)[1]
    expected = over_time(matrix, x.numpy()) + neuron.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(neuron.membrane(x).detach().numpy(), expected, rtol=0, atol=1e-12)
    estimated = IPSU(9, tau=tau, reset="estimated", backend=backend).double()
    estimated.load_state_dict(neuron.state_dict())
    assert (estimated.membrane(x) - neuron.membrane(x)).abs().max() > 0.1


# Block, arXiv 2205.15286


def block_and_loop(version: str, T: int = 24, F: int = 6):
    """Both with the same random beta in [0, 1], both ends of it among them; v1's slope is 100."""
    surrogate = {"name": "fast_sigmoid", "alpha": {"v1": 100.0, "v2": 10.0}[version]}
    block, loop = Block(T, F, version=version, surrogate=surrogate).double(), LIFSingleSpike(T, F).double()
    beta = torch.rand(F, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    beta[:2] = torch.tensor([0.0, 1.0])
    with torch.no_grad():
        block.beta.copy_(beta)
        loop.beta.copy_(beta)
    return block, loop


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("seed", range(3))
def test_block_spikes_once_at_its_first_crossing_as_the_single_spike_loop_does(version, seed):
    block, loop = block_and_loop(version)
    x = 0.6 * normal(24, 50, 6, seed=seed) + 0.05
    beta, v, fired, expected = block.beta.detach().numpy(), 0.0, np.zeros((50, 6), dtype=bool), []
    for step in x.numpy():
        v = beta * v + step
        assert np.abs(v - 1).min() > FAR
        expected.append((v > 1) & ~fired)
        fired |= v > 1
    spikes = block(x)
    np.testing.assert_array_equal(spikes.detach().numpy(), np.stack(expected))
    assert torch.equal(loop(x), spikes)
    counts = spikes.sum(0)
    assert set(counts.flatten().tolist()) == {0.0, 1.0}  # some never
    assert spikes.flatten(1).any(1).sum() > 3  # and not all at the same step
    assert (loop.membrane(x)[1:] * spikes.cumsum(0)[:-1] == 0).all()  # silenced: 0 after its spike
    assert block.membrane(x).flatten(1)[-1].abs().min() > 0  # not reset


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("T", [1, 2, 24])
@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_block_gradient_is_that_of_its_sums_and_its_selection(version, T, backend):
    block, _ = block_and_loop(version)
    block = copy.deepcopy(block)
    block.backend = backend
    with torch.no_grad():
        block.beta[:2] = torch.tensor([0.1, 0.95])
    spike = fast_sigmoid({"v1": 100.0, "v2": 10.0}[version])
    x, upstream = (0.6 * normal(T, 20, 6) + 0.2).requires_grad_(True), normal(T, 20, 6, seed=1)
    V = [sum(block.beta ** (t - k) * x[k] for k in range(t + 1)) for t in range(T)]
    F = [spike(v - 1) for v in V]
    z = torch.stack([sum((t - k + 1) * F[k] for k in range(t + 1)) for t in range(T)])
    s = torch.relu(z * (1 - z) + 1) * z if version == "v1" else (z == 1).to(z) + (z - z.detach())
    assert torch.equal(block(x), s)
    leaves = [x] if T == 1 else [x, block.beta]  # the first step does not decay
    assert_same_gradients((block(x) * upstream).sum(), (s * upstream).sum(), leaves)


def single_spike_by_loop(x, beta, spike):
    """As in the paper's code: the mask starts as zeros, and the reset is not detached."""
    mem, mask, spikes = None, torch.zeros_like(x[0]), []
    for step in x:
        mem = step if mem is None else beta * mem + step
        fired = spike(mem - 1)
        fired = fired * (1 - mask)
        mem = mem * (1 - mask)
        mask = torch.maximum(mask, fired)
        spikes.append(fired)
        mem = mem - fired
    return torch.stack(spikes)


def test_single_spike_gradient_is_that_of_the_papers_loop():
    _, loop = block_and_loop("v2")
    x, upstream = (0.6 * normal(24, 20, 6) + 0.2).requires_grad_(True), normal(24, 20, 6, seed=1)
    expected = single_spike_by_loop(x, loop.beta, fast_sigmoid(10.0))
    assert torch.equal(loop(x), expected)
    assert_same_gradients((loop(x) * upstream).sum(), (expected * upstream).sum(), [x, loop.beta])


def test_single_spike_gradient_to_all_but_the_first_input_is_that_of_the_papers_loop():
    _, loop = block_and_loop("v2")
    with torch.no_grad():
        loop.beta[:] = torch.linspace(0, 1, 6)
    x, upstream = (0.6 * normal(24, 20, 6) + 0.2).requires_grad_(True), normal(25, 20, 6, seed=1)
    whole = torch.cat([normal(1, 20, 6, seed=2), x])
    expected = single_spike_by_loop(whole, loop.beta, fast_sigmoid(10.0))
    assert torch.equal(loop(whole), expected)
    assert_same_gradients((loop(whole) * upstream).sum(), (expected * upstream).sum(), [x, loop.beta])


# MPE-PSN, arXiv 2409.04978


def mpe(variant: str, T: int = 7):
    """Moved from where it starts: uneven kappa, one of them below 0."""
    torch.manual_seed(2)
    neuron = MPEPSN(T, variant=variant).double()
    with torch.no_grad():
        neuron.kappa.copy_(normal(len(neuron.kappa), seed=3))
        neuron.v_threshold.fill_(0.8)
    return neuron


@pytest.mark.parametrize("variant", ["previous", "current"])
@pytest.mark.parametrize("shape", [(4,), (4, 5), (4, 5, 2, 3)])
def test_mpe_psn_auxiliary_loss_is_the_weighted_distance_of_estimate_and_membrane(variant, shape):
    neuron, x = mpe(variant), normal(7, *shape)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    spikes = neuron(x, noise=noise)
    X, kappa, total = x.numpy(), neuron.kappa.detach().numpy(), []
    vhat = np.where(noise.numpy() < 1 / (1 + np.exp(-X)), 0, X)
    v = []
    for t in range(7):
        used = 0 if t == 0 else vhat[t - 1] if variant == "previous" else vhat[t]
        h = 0.25 * used + X[t]
        assert np.abs(h - 0.8).min() > FAR
        v.append(np.where(h > 0.8, 0, h))
        np.testing.assert_array_equal(spikes[t].detach().numpy(), h > 0.8)
    if variant == "previous":
        total = [kappa[t] * (vhat[t] - v[t]) ** 2 for t in range(7)]
    else:
        total = [kappa[t - 1] * (vhat[t] - v[t - 1]) ** 2 for t in range(1, 7)]
    assert neuron.auxiliary_loss().item() == pytest.approx(np.mean(total), rel=1e-12)
    assert np.mean(total) != 0


@pytest.mark.parametrize("variant", ["previous", "current"])
@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_mpe_psn_auxiliary_loss_trains_kappa_threshold_and_input_but_not_through_the_draw(variant, backend):
    neuron, x = mpe(variant), normal(7, 4, 5).requires_grad_(True)
    neuron.backend = backend
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    neuron(x, noise=noise)
    spike = stand_in(triangle)
    drawn = (noise < torch.sigmoid(x.detach())).double()
    vhat = (1 - drawn) * x
    later = vhat[:-1] if variant == "previous" else vhat[1:]
    h = torch.cat([x[:1], x[1:] + 0.25 * later])
    v = (1 - spike(h - neuron.v_threshold)) * h
    error = vhat - v if variant == "previous" else vhat[1:] - v[:-1]
    expected = (neuron.kappa[:, None, None] * error**2).mean()
    assert_same_gradients(neuron.auxiliary_loss(), expected, [x, neuron.kappa, neuron.v_threshold])


def test_mpe_psn_starts_at_threshold_1_and_a_mean_of_its_pairs():
    for variant, pairs in (("previous", 8), ("current", 7)):
        neuron = MPEPSN(8, variant=variant)
        assert neuron.kappa.tolist() == pytest.approx([1 / pairs] * pairs)
        assert neuron.v_threshold.item() == 1.0
        assert {name for name, _ in neuron.named_parameters()} == {"kappa", "v_threshold"}
    assert MPEPSN(1, variant="current").kappa.shape == (0,)


def test_a_single_step_leaves_the_current_variant_no_pair_and_a_loss_of_0():
    neuron, x = MPEPSN(1, variant="current"), torch.ones(1, 3, 2, requires_grad=True)
    (neuron(x).sum() + neuron.auxiliary_loss()).backward()
    assert neuron.auxiliary_loss() == 0
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("variant", ["previous", "current"])
def test_mpe_psn_runs_at_another_length_but_has_no_auxiliary_loss_there(variant):
    neuron = mpe(variant)
    one_line = r"^[^\n]*T = 7[^\n]*T = 9[^\n]*\Z"
    assert neuron(normal(9, 4, 5)).shape == (9, 4, 5)
    with pytest.raises(UserError, match=one_line):
        neuron.auxiliary_loss()
    neuron(normal(7, 4, 5))
    assert neuron.auxiliary_loss().requires_grad
    neuron.eval()
    neuron.hold_draw(3)
    whole = neuron(normal(9, 4, 5))
    assert torch.equal(neuron(normal(9, 4, 5)[:5]), whole[:5])


def test_mpe_psn_has_no_auxiliary_loss_before_a_forward_in_training():
    neuron, x = mpe("previous"), normal(7, 4, 5)
    neuron.eval()
    neuron(x)
    neuron.train()
    with torch.no_grad():
        neuron(x)
    with pytest.raises(UserError, match=r"^[^\n]*training[^\n]*\Z"):
        neuron.auxiliary_loss()
    neuron(x)
    loss = neuron.auxiliary_loss()
    neuron.eval()
    neuron(x)
    assert neuron.auxiliary_loss() is loss
    with pytest.raises(UserError, match="training"):
        copy.deepcopy(neuron).auxiliary_loss()


# PSN, arXiv 2304.12760


@pytest.mark.parametrize("E", [1, 2, 9, 256])
def test_masked_psn_lambda_rises_to_1_over_the_first_eighth_of_the_epochs(E):
    neuron = MaskedPSN(4, order=2)
    for epoch in range(E):
        neuron.on_epoch_start(epoch, E)
        assert neuron.lambda_.item() == pytest.approx(min(1, 8 * epoch / (E - 1)) if E > 1 else 1)
        assert neuron.causal == (epoch >= (E - 1) / 8)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(E=st.integers(1, 5000))
def test_masked_psn_settles_in_the_first_epoch_that_masks_wholly(E):
    neuron = MaskedPSN(4, order=2)
    settled = neuron.settled_epoch(E)
    assert 0 <= settled < E
    neuron.on_epoch_start(settled, E)
    assert neuron.lambda_ == 1
    if settled > 0:
        neuron.on_epoch_start(settled - 1, E)
        assert neuron.lambda_ < 1


def test_other_psns_are_settled_from_the_first_epoch_and_know_no_schedule():
    for neuron in (PSN(4), SlidingPSN(4)):
        before = copy.deepcopy(neuron.state_dict())
        neuron.on_epoch_start(3, 9)
        assert neuron.settled_epoch(256) == 0
        assert all(torch.equal(value, before[name]) for name, value in neuron.state_dict().items())


def test_masked_psn_saves_its_lambda_and_takes_it_back_on_the_way():
    saved, fresh, x = MaskedPSN(6, order=2), MaskedPSN(6, order=2), 3 * current(6, 5).float()
    saved.on_epoch_start(1, 17)
    state = saved.state_dict()
    assert state["lambda_"] == 0.5
    assert set(state) == {"weight", "bias", "lambda_"}
    fresh.load_state_dict(state)
    assert torch.equal(fresh.membrane(x), saved.membrane(x))
    assert not fresh.causal
    fresh.on_epoch_start(16, 17)
    assert fresh.causal
    assert not torch.equal(fresh.membrane(x), saved.membrane(x))


def test_sliding_psn_starts_exponential_or_uniform_within_1_over_sqrt_k():
    neuron = SlidingPSN(order=5)
    assert neuron.weight.tolist() == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
    assert neuron.bias.item() == -1
    torch.manual_seed(0)
    uniform = SlidingPSN(order=4096, init="kaiming")
    assert 0.99 / 64 < uniform.weight.abs().max() <= 1 / 64
    assert uniform.weight.std().item() == pytest.approx((3 * 4096) ** -0.5, rel=0.05)
    assert uniform.bias.item() == -1
    assert SlidingPSN(7).weight.shape == (7,)  # the order is T where none is given
