"""PSN, masked and sliding PSN beyond their rows in the table: any order and mask, both filters, where weights start."""

import formulas
import numpy as np
import pytest
import torch
from formulas import Spike
from table import FAR, build, current, gradients

from snnrepro.errors import NonCausalError
from snnrepro.neurons import PSN, MaskedPSN, Operations, SlidingPSN
from snnrepro.neurons.kernels import ops


@pytest.mark.parametrize("neuron", [PSN, MaskedPSN])
def test_psn_starts_with_bias_minus_1_and_weights_uniform_within_1_over_sqrt_t(neuron):
    torch.manual_seed(1)
    neuron = neuron(64)
    assert neuron.bias.tolist() == [-1.0] * 64
    assert 0.99 / 8 < neuron.weight.abs().max() <= 1 / 8
    assert neuron.weight.std().item() == pytest.approx((3 * 64) ** -0.5, rel=0.05)


@pytest.mark.parametrize("order", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_masked_psn_of_any_order_and_mask_equals_its_sum_and_streams_only_behind_the_full_mask(order, lam):
    torch.manual_seed(1)
    neuron, x, fire = MaskedPSN(7, order=order, lambda_=lam).double(), current("psn", 7, 3, 4), Spike(at_threshold=True)
    h, spikes = formulas.masked_psn(neuron, x.numpy(), None, fire)
    assert fire.margin > FAR
    np.testing.assert_allclose(neuron.membrane(x).detach().numpy(), h, rtol=1e-12, atol=1e-12)
    assert neuron.causal == (lam == 1)
    if lam < 1:
        assert neuron.operations(7) == PSN(7).operations(7)
        with pytest.raises(NonCausalError, match=r"MaskedPSN.*sliding_psn"):
            neuron.stream(x)
        return
    assert neuron.operations(7) == SlidingPSN(order=order).operations(7)
    state, parts = None, []
    for step in x:
        part, state = neuron.stream(step[None], state)
        parts.append(part)
    np.testing.assert_array_equal(torch.cat(parts).detach().numpy(), spikes)
    outside = np.nonzero(formulas.psn_mask(7, order, 1.0) == 0)
    assert not gradients(neuron, x)[1][outside].any()


def test_masked_psn_cost_is_that_of_the_band_once_it_is_masked():
    neuron = MaskedPSN(5, order=2)
    assert neuron.operations(5)[:4] == Operations(25, 5, 20)[:4]
    neuron.on_epoch_start(9, 10)
    assert neuron.operations(5)[:4] == Operations(1 + 2 + 2 + 2 + 2, 5, 8)[:4]


def test_masked_psn_of_full_order_and_mask_is_a_causal_psn():
    full, x = build("masked_psn", 6, lambda_=1.0).double(), current("psn", 6, 3, 4)
    plain = build("psn", 6).double()
    with torch.no_grad():
        plain.weight.copy_(full.weight.tril())
    assert torch.equal(full(x), plain(x))


@pytest.mark.parametrize("order", [1, 2, 3, 8, 20])
@pytest.mark.parametrize("T", [1, 2, 7, 20])
def test_filter_and_band_equal_the_sum_for_kernels_shorter_and_longer_than_the_sequence(order, T):
    x, wanted = current("sliding_psn", T, 3, 4), None
    for backend in SlidingPSN.backends:
        torch.manual_seed(1)
        neuron = SlidingPSN(order=order, init="kaiming", backend=backend).double()
        h, _ = formulas.sliding_psn(neuron, x.numpy(), None, Spike(at_threshold=True))
        np.testing.assert_allclose(neuron.membrane(x).detach().numpy(), h, rtol=1e-12, atol=1e-12)
        found = gradients(neuron, x)
        wanted = wanted or found
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_sliding_psn_where_not_fused_takes_the_band_for_a_long_kernel_on_a_short_sequence_only(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(ops, "unserved", lambda device: "not here")
    assert SlidingPSN(order=8).kernel(64, cpu) == "band"
    assert SlidingPSN(order=8).kernel(65, cpu) == "fir"
    assert SlidingPSN(order=2).kernel(8, cpu) == "fir"
    assert SlidingPSN(order=300).kernel(300, cpu) == "fir"
