"""The integrate-and-fire family beyond its rows in the table: every variant of reset, leak and input."""

import inspect
import math

import formulas
import numpy as np
import pytest
import torch
from formulas import Spike
from table import FAR, current, gradients, several_lengths

from snnrepro.neurons import IF, KLIF, LIF, PLIF, LIFNoReset, Operations

# Beside each the arithmetic of 5 steps: x - v (where the input decays) and a MAC for the leak, then one AC for a soft
# reset; a hard one overwrites, and a resting potential other than 0 only shifts v.
VARIANTS = [
    (LIF, {"tau": 3.0}, Operations(5, 10, 4)),
    (LIF, {"tau": 1.0, "v_threshold": 0.5}, Operations(5, 10, 4)),
    (LIF, {"tau": 4 / 3, "reset": "hard", "decay_input": False}, Operations(5, 0, 4)),  # the MPE-PSN paper's
    (LIF, {"decay_input": False}, Operations(5, 5, 4)),
    (LIF, {"reset": "hard", "v_reset": -0.5, "tau": 3.0}, Operations(5, 5, 4)),
    (LIF, {"reset": "hard", "v_reset": 0.25, "decay_input": False, "tau": 1.5}, Operations(5, 0, 4)),
    (LIF, {"reset": "none"}, Operations(5, 5, 4)),
    (LIF, {"reset": "none", "v_reset": 0.7, "decay_input": False}, Operations(5, 0, 4)),  # nothing to reset: no 0.7
    # A step is one AC, and one for a soft reset.
    (IF, {"v_threshold": 3.0}, Operations(0, 10, 4)),
    (IF, {"reset": "hard", "v_reset": -0.5}, Operations(0, 5, 4)),
    (IF, {"reset": "none", "v_reset": 0.7}, Operations(0, 5, 4)),
    (PLIF, {"tau": 3.0}, Operations(5, 10, 4)),
    (PLIF, {"reset": "hard", "v_reset": 0.25, "decay_input": False}, Operations(5, 0, 4)),
    (PLIF, {"reset": "none", "tau": 1.5}, Operations(5, 5, 4)),
    # Of the LIF, and a MAC for k, another for 1 / k.
    (KLIF, {"tau": 3.0, "scale_reset": True}, Operations(15, 10, 4)),
    (KLIF, {"reset": "hard", "v_reset": -0.5, "scale_reset": True}, Operations(15, 5, 4)),
    (KLIF, {"reset": "hard", "v_reset": 0.25, "decay_input": False}, Operations(10, 0, 4)),
    (KLIF, {"reset": "none", "scale_reset": True, "v_threshold": 0.5}, Operations(15, 5, 4)),
    (LIFNoReset, {"tau": 3.0, "v_threshold": 0.5}, Operations(5, 5, 4)),
    (LIFNoReset, {"tau": 1.0}, Operations(5, 5, 4)),
    (LIFNoReset, {"tau": 4.0, "decay_input": False}, Operations(5, 0, 4)),
]
FORMULAS = {LIF: formulas.lif, IF: formulas.if_, PLIF: formulas.plif, KLIF: formulas.klif}
FORMULAS[LIFNoReset] = formulas.lif_no_reset


@pytest.mark.parametrize(("neuron", "changes", "operations"), VARIANTS, ids=str)
@several_lengths
def test_every_variant_equals_its_loop_streams_and_costs_what_its_step_does(neuron, changes, operations, T):
    formula = FORMULAS[neuron]
    neuron, x, fire = neuron(**changes).double(), current("lif", T, 40), Spike(at_threshold=True)
    with torch.no_grad():
        for p in neuron.parameters():  # k starts at 1, where its place does not show
            p.mul_(1.25).sub_(0.125)
    h, spikes = formula(neuron, x.numpy(), None, fire)
    assert fire.margin > FAR
    np.testing.assert_allclose(neuron.membrane(x).detach().numpy(), h, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(neuron(x).detach().numpy(), spikes)
    head, state = neuron.stream(x[: T // 2 + 1])
    tail = neuron.stream(x[T // 2 + 1 :], state)[0] if T > 1 else head[:0]
    assert torch.equal(torch.cat([head, tail]), neuron(x))
    assert neuron.operations(5) == operations


@pytest.mark.parametrize("neuron", [LIF, IF, PLIF, KLIF])
@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
def test_gradient_is_that_of_a_straight_through_loop_and_detach_reset_changes_nothing_else(neuron, reset):
    def spike(u):
        smooth = torch.atan(torch.pi * u) / torch.pi  # alpha 2: its slope is 1 / (1 + (pi u)^2)
        return smooth + ((u >= 0).double() - smooth).detach()

    keep, gain = (1.0, 1.0) if neuron is IF else (0.5, 0.5)
    x, ours = current("lif", 7, 10), {}
    upstream = torch.randn(7, 10, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    for detach in (True, False):
        v, spikes, leaf = torch.zeros(10), [], x.clone().requires_grad_(True)
        for step in leaf:
            h = keep * v + gain * step
            h = torch.relu(h) if neuron is KLIF else h
            spikes.append(spike(h - 1))
            s = spikes[-1].detach() if detach else spikes[-1]
            v = {"soft": h - s, "hard": (1 - s) * h, "none": h}[reset]
        (wanted,) = torch.autograd.grad((torch.stack(spikes) * upstream).sum(), leaf)
        ours[detach] = gradients(neuron(reset=reset, detach_reset=detach), x)[0]
        torch.testing.assert_close(ours[detach], wanted, rtol=1e-10, atol=1e-14)
    assert torch.equal(ours[True], ours[False]) == (reset == "none")
    assert torch.equal(neuron(reset=reset, detach_reset=True)(x), neuron(reset=reset, detach_reset=False)(x))


def test_the_reset_passes_no_gradient_but_in_klif_unless_asked():
    default = {n: inspect.signature(n).parameters["detach_reset"].default for n in (LIF, IF, PLIF, KLIF)}
    assert default == {LIF: True, IF: True, PLIF: True, KLIF: False}


@pytest.mark.parametrize("tau", [1.25, 2.0, 20.0])
def test_plif_starts_at_the_tau_it_was_given_and_klif_at_a_factor_of_1(tau):
    assert torch.sigmoid(PLIF(tau=tau).w).item() == pytest.approx(1 / tau, rel=1e-6)
    assert PLIF(tau=tau).w.item() == pytest.approx(-math.log(tau - 1), rel=1e-6)
    assert KLIF(tau=tau).k.item() == 1.0


def test_lif_of_an_infinite_tau_without_input_decay_is_the_integrator():
    x = current("lif", 16, 40)
    assert torch.equal(LIF(tau=1e300, decay_input=False)(x), IF()(x))


def test_klif_membrane_is_never_negative():
    assert KLIF().membrane(current("lif", 16, 40)).min() == 0
