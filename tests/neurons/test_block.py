"""The Block neurons beyond their rows in the table and test_papers.py: beta and its bounds, long sequences."""

import numpy as np
import pytest
import torch
from table import build, current, gradients

from snnrepro.neurons import Block, LIFMultiSpike, LIFSingleSpike

every = pytest.mark.parametrize("neuron", [Block, LIFSingleSpike, LIFMultiSpike])


@pytest.mark.parametrize("name", ["block", "block_v1"])
@pytest.mark.parametrize("backend", Block.backends)
def test_spike_is_the_first_crossing_and_the_only_one_over_300_steps(name, backend):
    x = current("lif", 300, 3, 4) * 0.3 - 0.3
    neuron = build(name, 300, backend=backend).double()
    spikes, crossed = neuron(x), neuron.membrane(x) > 1
    assert torch.equal(spikes.bool(), crossed & (crossed.cumsum(0) == 1))
    assert spikes.sum(0).max() == 1
    assert crossed.sum(0).max() > 1


def test_v1_passes_no_gradient_from_the_first_crossing_on_and_v2_from_every_step():
    x = torch.full((5, 1, 1), 2.0, dtype=torch.float64)  # crosses at once
    assert not gradients(build("block_v1", 5, 1).double(), x)[0].any()
    assert gradients(build("block", 5, 1).double(), x)[0].all()


@every
def test_beta_has_one_value_a_feature_and_starts_at_exp_minus_a_tenth(neuron):
    found = neuron(None, 3)
    assert found.beta.tolist() == pytest.approx([np.exp(-0.1)] * 3, rel=1e-6)
    assert found.beta.requires_grad
    assert not neuron(None, 3, learn_beta=False).beta.requires_grad


@every
def test_beta_that_is_not_learned_gets_no_gradient_and_the_input_does(neuron):
    found, x = neuron(None, 3, learn_beta=False), current("block", 5, 2, 3, dtype=torch.float32)
    x.requires_grad_(True)
    found(x).sum().backward()
    assert found.beta.grad is None
    assert x.grad.any()


@every
@pytest.mark.parametrize(("outside", "edge"), [(1.5, 1.0), (-0.5, 0.0)])
def test_beta_is_used_within_0_and_1(neuron, outside, edge):
    x = current("block", 5, 2, 3)
    found, bounded = neuron(None, 3, beta=edge).double(), neuron(None, 3, beta=edge).double()
    with torch.no_grad():
        found.beta.fill_(outside)
    assert torch.equal(found.membrane(x), bounded.membrane(x))
    assert torch.equal(found.stream(x)[0], bounded(x))


@every
def test_beta_of_1_as_in_the_conv_nets_is_learned_and_sums_the_input(neuron):
    found, x = neuron(None, 3, beta=1.0, v_threshold=50.0).double(), current("block", 5, 2, 3)
    torch.testing.assert_close(found.membrane(x), x.cumsum(0))
    assert gradients(found, x)[1].all()


@every
def test_each_feature_leaks_by_its_own_beta(neuron):
    found = neuron(None, 3, v_threshold=50.0).double()
    with torch.no_grad():
        found.beta.copy_(torch.tensor([0.0, 0.5, 1.0]))
    assert found.membrane(torch.ones(3, 1, 3).double())[-1].tolist() == [[1.0, 1.75, 3.0]]
