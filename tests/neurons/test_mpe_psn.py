"""MPE-PSN beyond its rows in the table and test_papers.py: copies, half precision, what a step depends on."""

import copy
import pickle

import pytest
import torch
from table import build, noise, refused


def test_auxiliary_loss_of_half_precision_is_that_of_fp32():
    x, drawn = torch.randn(5, 2, 3).half(), {"noise": torch.rand(5, 2, 3)}
    half, full = build("mpe_psn", 5), build("mpe_psn", 5)
    half(x, **drawn)
    full(x.float(), **drawn)
    assert half.auxiliary_loss().dtype == torch.float32
    assert torch.equal(half.auxiliary_loss(), full.auxiliary_loss())


@pytest.mark.parametrize("name", ["mpe_psn", "mpe_psn_local"])
def test_both_forms_have_the_same_auxiliary_loss_and_gradients(name):
    x, found = torch.randn(5, 4, 3, dtype=torch.float64), []
    for backend in ("torch", "reference"):
        neuron, leaf = build(name, 5, backend=backend).double(), x.clone().requires_grad_(True)
        neuron(leaf, **noise(name, x))
        loss = neuron.auxiliary_loss()
        found.append([loss, *torch.autograd.grad(loss, [leaf, neuron.kappa, neuron.v_threshold])])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda neuron: pickle.loads(pickle.dumps(neuron))])
def test_a_copy_takes_no_auxiliary_loss_along_and_leaves_the_original_its_own(clone):
    neuron = build("mpe_psn", 5)
    neuron(torch.randn(5, 2, 3))
    twin = clone(neuron)
    with refused("training"):
        twin.auxiliary_loss()
    neuron.auxiliary_loss().backward()
    assert neuron.kappa.grad is not None
    assert twin.kappa.grad is None


def test_variant_current_depends_on_no_other_step_and_previous_on_the_one_before():
    x = torch.randn(5, 4, 6, dtype=torch.float64)
    changed = torch.cat([x[:2], x[2:3] - 1, x[3:]])
    drawn, touched = noise("mpe_psn", x), {}
    for name in ("mpe_psn", "mpe_psn_local"):
        neuron = build(name, 5).double()
        moved = neuron.membrane(x, **drawn) != neuron.membrane(changed, **drawn)
        touched[name] = moved.flatten(1).any(1).nonzero().flatten().tolist()
    assert touched == {"mpe_psn": [2, 3], "mpe_psn_local": [2]}
