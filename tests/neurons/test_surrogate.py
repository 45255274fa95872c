"""The spike and its stand-in gradients, against formulas and finite differences written here in NumPy."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from snnrepro.errors import UserError
from snnrepro.neurons.surrogate import SHAPES, Surrogate, make_surrogate


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Expected(NamedTuple):
    primitive: Callable  # G(u, alpha), smooth or piecewise smooth
    derivative: Callable  # g(u, alpha) = dG/du
    default_alpha: float


def triangle_primitive(u, a):
    z = np.clip(a * u, -1, 1)
    return 0.5 + z - z * np.abs(z) / 2


EXPECTED = {
    "atan": Expected(
        lambda u, a: np.arctan(np.pi / 2 * a * u) / np.pi + 0.5,
        lambda u, a: a / (2 * (1 + (np.pi / 2 * a * u) ** 2)),
        2.0,
    ),
    "sigmoid": Expected(
        lambda u, a: sigmoid(a * u),
        lambda u, a: a * sigmoid(a * u) * (1 - sigmoid(a * u)),
        4.0,
    ),
    "triangle": Expected(triangle_primitive, lambda u, a: np.maximum(0, a - a**2 * np.abs(u)), 1.0),
    "rectangle": Expected(
        lambda u, a: np.clip(a * u + 0.5, 0, 1),
        lambda u, a: np.where(np.abs(u) < 1 / (2 * a), a, 0.0),
        1.0,
    ),
    "fast_sigmoid": Expected(
        lambda u, a: u / (1 + a * np.abs(u)),
        lambda u, a: 1 / (1 + a * np.abs(u)) ** 2,
        10.0,
    ),
    "exponential": Expected(
        lambda u, a: 0.5 + np.sign(u) * (1 - np.exp(-a * np.abs(u))) / 2,
        lambda u, a: a / 2 * np.exp(-a * np.abs(u)),
        5.0,
    ),
}
STEP = 1e-6
every_shape = pytest.mark.parametrize("name", list(EXPECTED))
several_alphas = pytest.mark.parametrize("alpha", [None, 0.7, 3.1])


def distances(alpha: float) -> np.ndarray:
    """Both signs and 0, clear of the kinks of triangle (1/alpha) and rectangle (1/(2 alpha))."""
    u = np.concatenate([[0.0], np.random.default_rng(0).uniform(-2, 2, 200)])
    kinks = np.abs(np.abs(u)[:, None] - np.array([1 / alpha, 0.5 / alpha])).min(1)
    return u[kinks > 100 * STEP]


def backward(name: str, alpha: float | None, u: np.ndarray, upstream: np.ndarray) -> np.ndarray:
    x = torch.tensor(u, requires_grad=True)
    Surrogate(name, alpha)(x).backward(torch.tensor(upstream))
    return x.grad.numpy()


def test_the_table_here_has_every_surrogate():
    assert set(EXPECTED) == set(SHAPES)


@every_shape
@several_alphas
def test_gradient_is_the_formula_times_what_comes_from_above(name, alpha):
    wanted = EXPECTED[name].default_alpha if alpha is None else alpha
    u = distances(wanted)
    upstream = np.random.default_rng(1).normal(size=u.shape)
    np.testing.assert_allclose(
        backward(name, alpha, u, upstream), upstream * EXPECTED[name].derivative(u, wanted), rtol=1e-12, atol=1e-15
    )


@every_shape
@several_alphas
def test_gradient_is_the_slope_of_the_smooth_primitive(name, alpha):
    wanted = EXPECTED[name].default_alpha if alpha is None else alpha
    u = distances(wanted)
    g = EXPECTED[name].primitive
    slope = (g(u + STEP, wanted) - g(u - STEP, wanted)) / (2 * STEP)
    np.testing.assert_allclose(backward(name, alpha, u, np.ones_like(u)), slope, rtol=1e-5, atol=2e-5)


@every_shape
@pytest.mark.parametrize("alpha", [0.7, 3.1])
def test_learnable_alpha_gets_the_slope_of_the_primitive_in_alpha(name, alpha):
    surrogate = Surrogate(name, alpha, learnable=True).double()
    alpha = surrogate.alpha.item()  # as rounded to the parameter's fp32
    u = distances(alpha)
    upstream = np.random.default_rng(2).normal(size=u.shape)
    x = torch.tensor(u, requires_grad=True)
    surrogate(x).backward(torch.tensor(upstream))
    g = EXPECTED[name].primitive
    slope = (g(u, alpha + STEP) - g(u, alpha - STEP)) / (2 * STEP)
    np.testing.assert_allclose(float(surrogate.alpha.grad), (upstream * slope).sum(), rtol=1e-5)
    np.testing.assert_allclose(x.grad.numpy(), upstream * EXPECTED[name].derivative(u, alpha), rtol=1e-12)


def test_triangle_with_alpha_2_is_the_psu_papers_qgate():
    u = np.array([-0.6, -0.3, 0.0, 0.1, 0.49, 0.51])
    np.testing.assert_allclose(backward("triangle", 2.0, u, np.ones(6)), [0, 0.8, 2.0, 1.6, 0.04, 0], atol=1e-12)


@every_shape
@pytest.mark.parametrize("learnable", [False, True])
def test_spikes_where_u_is_above_zero_and_at_zero_unless_strict(name, learnable):
    surrogate = Surrogate(name, learnable=learnable)
    u = torch.tensor([-float("inf"), -1e-30, -0.0, 0.0, 1e-30, float("inf")])
    assert surrogate(u).tolist() == [0, 0, 1, 1, 1, 1]
    assert surrogate(u, strict=True).tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("strict", [False, True])
def test_nan_gives_no_spike(strict):
    assert Surrogate()(torch.tensor([float("nan"), 1.0]), strict=strict).tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_spikes_and_gradients_keep_the_dtype(dtype):
    u = torch.tensor([-1.0, 0.5], dtype=dtype, requires_grad=True)
    surrogate = Surrogate(learnable=True)
    spikes = surrogate(u)
    spikes.sum().backward()
    assert (spikes.dtype, u.grad.dtype, surrogate.alpha.grad.dtype) == (dtype, dtype, torch.float32)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("atann", "atan"),
        ("nothing_like_it", "sigmoid"),
        ({"name": "triangel"}, "triangle"),
        ({"name": "atan", "alfa": 2.0}, "alpha"),
        ({"name": "atan", "alpha": 0.0}, "alpha"),
        ({"name": "atan", "alpha": -1}, "alpha"),
        ({"name": "atan", "alpha": float("nan")}, "alpha"),
    ],
)
def test_a_wrong_spec_is_a_user_error_that_names_the_right_word(spec, named):
    with pytest.raises(UserError, match=named) as error:
        make_surrogate(spec)
    assert "\n" not in str(error.value)


def test_a_string_gives_the_default_alpha_and_nothing_learned():
    surrogate = make_surrogate("sigmoid")
    assert (surrogate.name, surrogate.alpha, list(surrogate.parameters())) == ("sigmoid", 4.0, [])


@pytest.mark.parametrize("convert", [dict, OmegaConf.create])
def test_a_mapping_gives_name_alpha_and_learnable(convert):
    surrogate = make_surrogate(convert({"name": "triangle", "alpha": 2.5, "learnable": True}))
    assert (surrogate.name, surrogate.alpha.item(), len(list(surrogate.parameters()))) == ("triangle", 2.5, 1)


def test_each_call_with_a_mapping_makes_an_alpha_of_its_own():
    spec = {"name": "atan", "alpha": 2.0, "learnable": True}
    first, second = make_surrogate(spec), make_surrogate(spec)
    first(torch.ones(3)).sum().backward()
    assert first is not second
    assert first.alpha is not second.alpha
    assert second.alpha.grad is None


def test_a_ready_surrogate_is_taken_as_it_is():
    surrogate = Surrogate("rectangle", 0.5)
    assert make_surrogate(surrogate) is surrogate


def test_learned_alpha_survives_a_state_dict_and_shapes_the_gradient_after_it():
    learned = Surrogate("atan", 3.5, learnable=True)
    fresh = Surrogate("atan", learnable=True)
    fresh.load_state_dict(learned.state_dict())
    u = torch.tensor([0.25], requires_grad=True)
    fresh(u).sum().backward()
    assert fresh.alpha.item() == 3.5
    assert u.grad.item() == pytest.approx(EXPECTED["atan"].derivative(0.25, 3.5), rel=1e-6)
    assert Surrogate("atan", 3.5).state_dict() == {}


def test_printing_a_learned_alpha_does_not_warn():
    torch.set_warn_always(True)  # else torch warns in the first such call of the process only
    try:
        assert "alpha=3.5" in repr(Surrogate("atan", 3.5, learnable=True))
    finally:
        torch.set_warn_always(False)
