"""Our neurons against spikingjelly's, with the same weights and input: same spikes, same gradients.

float64, input `[T, B, *]`, surrogate ATan with alpha 2 on both sides. spikingjelly's weights are moved from where they
start, and reach ours through load_spikingjelly wherever it takes them.
"""

import itertools

import numpy as np
import pytest
import torch

from snnrepro.errors import UserError
from snnrepro.neurons import GLIF, IF, KLIF, LIF, PLIF, PSN, PSU, MaskedPSN, SlidingPSN, load_spikingjelly

theirs = pytest.importorskip(
    "spikingjelly.activation_based.neuron", reason="spikingjelly is the other side of these comparisons: pip install it"
)
ATan = pytest.importorskip("spikingjelly.activation_based.surrogate").ATan

FAR = 1e-9  # nothing here lies closer to a threshold
BATCH = 4
RESETS = [
    {"reset": "soft", "v_threshold": 1.0},
    {"reset": "soft", "v_threshold": 0.7},
    {"reset": "hard", "v_threshold": 1.0},
    {"reset": "hard", "v_threshold": 0.7, "v_reset": -0.4},
    {"reset": "hard", "v_threshold": 1.3, "v_reset": 0.25},
]
every_reset = pytest.mark.parametrize("reset", RESETS, ids=lambda r: "-".join(map(str, r.values())))
either_way = pytest.mark.parametrize("detach", [True, False], ids=["detached", "attached"])
with_or_without_decay = pytest.mark.parametrize("decay_input", [True, False], ids=["decayed", "whole"])
several_taus = pytest.mark.parametrize("tau", [1.25, 2.0, 5.0])


@pytest.fixture(autouse=True)
def seeds():
    """spikingjelly draws its starts from torch's generator, and GLIF's from NumPy's."""
    torch.manual_seed(2)
    np.random.seed(0)


def current(T: int, *rest: int, seed: int = 0) -> torch.Tensor:
    return 1 + 2 * torch.randn(T, *rest, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved(module: torch.nn.Module, by: float = 0.3, seed: int = 5) -> torch.nn.Module:
    """In float64, with every parameter away from its start, by numbers that float32 cannot hold."""
    module.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(by * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return module


def settings_of(reset: dict, **more) -> dict:
    """A row of RESETS as spikingjelly takes it: v_reset None for a soft reset."""
    v_reset = None if reset["reset"] == "soft" else reset.get("v_reset", 0.0)
    return {"v_threshold": reset["v_threshold"], "v_reset": v_reset, "surrogate_function": ATan(), **more}


def outcome(module: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Spikes, and the gradients to x and to every parameter by name, for an upstream gradient that is not uniform."""
    x = x.clone().requires_grad_(True)
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(9), dtype=x.dtype)
    spikes = module(x)
    leaves = {"x": x, **dict(module.named_parameters())}
    found = torch.autograd.grad(
        (spikes * upstream).sum(), list(leaves.values()), materialize_grads=True, allow_unused=True
    )
    return spikes, dict(zip(leaves, found, strict=True))


def assert_alike(ours, other, x: torch.Tensor, unused: tuple[str, ...] = ()) -> None:
    """Equal spikes, of both kinds, and equal gradients, none of them 0 throughout but those named `unused`."""
    h = ours.membrane(x)
    distance = torch.stack([step - ours.threshold(step) for step in h])
    assert distance.abs().min() > FAR
    (spikes, gradients), (expected, their_gradients) = outcome(ours, x), outcome(other, x)
    assert torch.equal(spikes, expected)
    assert 0 < spikes.mean() < 1
    assert gradients.keys() == their_gradients.keys()
    for name, gradient in gradients.items():
        assert (their_gradients[name].abs().max() > 0) == (name not in unused)
        torch.testing.assert_close(gradient, their_gradients[name].view_as(gradient), rtol=1e-10, atol=1e-10)


@every_reset
@either_way
def test_if_equals_spikingjelly(reset, detach):
    other = theirs.IFNode(**settings_of(reset, detach_reset=detach, step_mode="m"))
    assert_alike(IF(detach_reset=detach, **reset), other, current(8, BATCH, 5) - 0.7)


@every_reset
@either_way
@with_or_without_decay
@several_taus
def test_lif_equals_spikingjelly(reset, detach, decay_input, tau):
    settings = {"tau": tau, "decay_input": decay_input, "detach_reset": detach}
    other = theirs.LIFNode(**settings_of(reset, **settings, step_mode="m"))
    assert_alike(LIF(**settings, **reset), other, current(8, BATCH, 5))


@every_reset
@either_way
@with_or_without_decay
@several_taus
def test_plif_equals_spikingjelly_with_a_trained_time_constant(reset, detach, decay_input, tau):
    settings = {"decay_input": decay_input, "detach_reset": detach}
    other = moved(theirs.ParametricLIFNode(tau, **settings_of(reset, **settings, step_mode="m")))
    ours = PLIF(**settings, **reset).double()
    load_spikingjelly(ours, other)
    assert_alike(ours, other, current(8, BATCH, 5))


@every_reset
@either_way
@with_or_without_decay
@pytest.mark.parametrize("tau", [1.25, 3.0])
@pytest.mark.parametrize("scale_reset", [True, False], ids=["scaled", "unscaled"])
def test_klif_equals_spikingjelly_with_a_trained_k(reset, detach, decay_input, tau, scale_reset):
    settings = {"tau": tau, "decay_input": decay_input, "detach_reset": detach, "scale_reset": scale_reset}
    other = moved(theirs.KLIFNode(**settings_of(reset, **settings, step_mode="m")))
    ours = KLIF(**settings, **reset).double()
    load_spikingjelly(ours, other)
    assert_alike(ours, other, current(8, BATCH, 5))


@pytest.mark.parametrize("T", [1, 6])
@pytest.mark.parametrize("start", [(0.25, 0.5, 0.5), (0.6, 0.3, 0.8)])
def test_glif_equals_spikingjelly_channel_by_channel_with_trained_gates(T, start):
    tau, v_threshold, conduct = start
    gates = {"init_tau": tau, "init_v_threshold": v_threshold, "init_conduct": conduct}
    other = moved(theirs.GatedLIFNode(T, 3, **gates, surrogate_function=ATan()), by=1.0)
    ours = GLIF(T, 3).double()
    load_spikingjelly(ours, other)
    unused = ("gamma", "tau", "v_subreset") if T == 1 else ()  # nothing leaks or resets before the first step
    assert_alike(ours, other, current(T, BATCH, 3, 5, 2), unused)


@pytest.mark.parametrize("T", [1, 5, 16])
def test_psn_equals_spikingjelly_with_trained_weights(T):
    other = moved(theirs.PSN(T, ATan()))
    ours = PSN(T).double()
    load_spikingjelly(ours, other)
    assert_alike(ours, other, 4 * current(T, BATCH, 5, 2))


@pytest.mark.parametrize("order", [1, 3, 8])
@pytest.mark.parametrize("lambda_", [0.0, 0.5, 1.0])
def test_masked_psn_equals_spikingjelly_on_the_way_to_its_mask(order, lambda_):
    other = moved(theirs.MaskedPSN(order, 8, lambda_, ATan(), step_mode="m"))
    ours = MaskedPSN(8, order=order).double()
    load_spikingjelly(ours, other)
    assert ours.causal == (lambda_ == 1)
    assert_alike(ours, other, 4 * current(8, BATCH, 5, 2))


@pytest.mark.parametrize("order", [1, 2, 5])
@pytest.mark.parametrize("exponential", [True, False], ids=["exponential", "kaiming"])
@pytest.mark.parametrize("T", [3, 12])
@pytest.mark.parametrize("backend", ["fir", "band"])
def test_sliding_psn_equals_spikingjelly_also_on_a_sequence_shorter_than_its_order(order, exponential, T, backend):
    other = moved(theirs.SlidingPSN(order, exponential, ATan(), step_mode="m"))
    ours = SlidingPSN(order=order, backend=backend).double()
    load_spikingjelly(ours, other)
    assert_alike(ours, other, 4 * current(T, BATCH, 5, 2))


def test_starts_and_masks_are_spikingjellys_before_any_weight_is_loaded():
    for k in (1, 2, 5, 12):
        assert torch.equal(SlidingPSN(order=k).weight, theirs.SlidingPSN(k).weight)
    for k, lambda_ in itertools.product((1, 3, 8), (0.0, 0.3, 1.0)):
        ours, other = MaskedPSN(8, order=k, lambda_=lambda_), theirs.MaskedPSN(k, 8, lambda_)
        torch.nn.init.ones_(ours.weight)
        torch.nn.init.ones_(other.weight)
        torch.testing.assert_close(ours.masked_weight(), other.masked_weight(), rtol=0, atol=1e-7)
    for tau in (1.25, 2.0, 30.0):
        assert torch.equal(PLIF(tau=tau).w, theirs.ParametricLIFNode(tau).w)
    ours = GLIF(6, 3, tau=0.6, v_threshold=0.3, conduct=0.8)
    other = theirs.GatedLIFNode(6, 3, init_tau=0.6, init_v_threshold=0.3, init_conduct=0.8)
    for name in ("tau", "v_threshold", "linear_decay", "v_subreset", "conduct"):
        torch.testing.assert_close(getattr(ours, name), getattr(other, name), rtol=1e-6, atol=0)


def step_by_step(ours, other, x: torch.Tensor) -> None:
    """Both alone with one step after another."""
    state, fired = None, 0.0
    for t, step in enumerate(x):
        spikes, state = ours.stream(x[t : t + 1], state)
        assert torch.equal(spikes[0], other(step))
        fired += spikes.mean().item()
    assert 0 < fired / len(x) < 1


@pytest.mark.parametrize("order", [1, 2, 5, 20])
def test_streamed_sliding_psn_equals_spikingjellys_single_step_mode(order):
    other = moved(theirs.SlidingPSN(order, surrogate_function=ATan(), step_mode="s"))
    ours = SlidingPSN(order=order).double()
    load_spikingjelly(ours, other)
    step_by_step(ours, other, current(12, BATCH, 5))


@pytest.mark.parametrize("order", [1, 3, 8])
def test_streamed_masked_psn_equals_spikingjellys_single_step_mode(order):
    other = moved(theirs.MaskedPSN(order, 8, 1.0, ATan(), step_mode="s"))
    ours = MaskedPSN(8, order=order).double()
    load_spikingjelly(ours, other)
    step_by_step(ours, other, current(8, BATCH, 5))


@pytest.mark.parametrize("reset", RESETS[1::2], ids=["soft", "hard"])
def test_streamed_lif_family_equals_spikingjellys_single_step_mode(reset):
    pairs = [(IF(**reset), theirs.IFNode(**settings_of(reset))), (LIF(**reset), theirs.LIFNode(**settings_of(reset)))]
    trained = [(PLIF(**reset), theirs.ParametricLIFNode(**settings_of(reset, detach_reset=True)))]
    trained += [(KLIF(**reset), theirs.KLIFNode(**settings_of(reset)))]
    for ours, other in trained:
        load_spikingjelly(ours.double(), moved(other))
    for ours, other in pairs + trained:
        step_by_step(ours, other, current(12, BATCH, 5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loading_copies_values_and_neither_ties_the_two_nor_touches_the_surrogate(dtype):
    other = moved(theirs.MaskedPSN(3, 8, 0.5, ATan(5.0), step_mode="m"))
    ours = MaskedPSN(8, order=3, surrogate={"name": "triangle", "alpha": 0.5, "learnable": True}).to(dtype)
    load_spikingjelly(ours, other)
    loaded = {name: value.clone() for name, value in ours.state_dict().items()}
    assert loaded["weight"].dtype == dtype
    assert torch.equal(loaded["weight"], other.weight.to(dtype))
    assert loaded["lambda_"] == 0.5
    assert (ours.surrogate.name, loaded["surrogate.alpha"]) == ("triangle", 0.5)
    assert all(p.requires_grad and p.is_leaf for p in ours.parameters())
    moved(other)
    other.lambda_ = 1.0
    assert all(torch.equal(value, loaded[name]) for name, value in ours.state_dict().items())


SOFT = {"v_reset": None}
DETACHED = {"v_reset": None, "detach_reset": True}
REFUSED = {
    "another class": (PSN(4), theirs.SlidingPSN(4), "PSN takes.*'s PSN.*SlidingPSN"),
    "its own base": (PLIF(), theirs.LIFNode(**DETACHED), "ParametricLIFNode.*LIFNode"),
    "masked for plain": (PSN(4), theirs.MaskedPSN(4, 4), "MaskedPSN"),
    "plain for masked": (MaskedPSN(4), theirs.PSN(4), "MaskedPSN.*PSN"),
    "no spikingjelly": (PSN(4), torch.nn.Linear(4, 4), "Linear"),
    "lif without weights": (LIF(), theirs.LIFNode(**DETACHED), "LIF has no counterpart.*PLIF"),
    "if without weights": (IF(), theirs.IFNode(), "IF has no counterpart"),
    "no counterpart": (PSU(surrogate={"name": "atan", "learnable": True}), theirs.LIFNode(), "PSU has no counterpart"),
    "psn T": (PSN(4), theirs.PSN(5), r"weight is \(4, 4\).*\(5, 5\)"),
    "masked T": (MaskedPSN(4, order=2), theirs.MaskedPSN(2, 5), r"\(4, 4\).*\(5, 5\)"),
    "masked k": (MaskedPSN(4, order=2), theirs.MaskedPSN(3, 4), "order is 2 here and 3"),
    "sliding k": (SlidingPSN(order=2), theirs.SlidingPSN(3), "order is 2 here and 3"),
    "glif features": (GLIF(4, 3), theirs.GatedLIFNode(4, 2), r"alpha is \(3,\).*\(2,\)"),
    "glif for a layer": (GLIF(4, 1), theirs.GatedLIFNode(4), r"alpha is \(1,\).*\(\)"),
    "glif T, found last": (GLIF(4, 3), theirs.GatedLIFNode(5, 3), r"conduct is \(4, 3\).*\(5, 3\)"),
    "plif threshold": (
        PLIF(),
        theirs.ParametricLIFNode(v_threshold=0.5, **DETACHED),
        "v_threshold is 1.0 here and 0.5",
    ),
    "plif soft": (PLIF(), theirs.ParametricLIFNode(detach_reset=True), "reset is soft here and hard"),
    "plif hard": (PLIF(reset="hard"), theirs.ParametricLIFNode(**DETACHED), "reset is hard here and soft"),
    "plif none": (PLIF(reset="none"), theirs.ParametricLIFNode(**DETACHED), "reset is none here and soft"),
    "plif v_reset": (
        PLIF(reset="hard"),
        theirs.ParametricLIFNode(v_reset=0.2, detach_reset=True),
        "v_reset is 0.0 here and 0.2",
    ),
    "plif detach": (PLIF(), theirs.ParametricLIFNode(**SOFT), "detach_reset is True here and False"),
    "plif input": (
        PLIF(),
        theirs.ParametricLIFNode(decay_input=False, **DETACHED),
        "decay_input is True here and False",
    ),
    "klif tau": (KLIF(), theirs.KLIFNode(tau=3.0, **SOFT), "tau is 2.0 here and 3.0"),
    "klif threshold": (KLIF(v_threshold=0.5), theirs.KLIFNode(**SOFT), "v_threshold is 0.5 here and 1.0"),
    "klif reset": (KLIF(), theirs.KLIFNode(), "reset is soft here and hard"),
    "klif v_reset": (KLIF(reset="hard", v_reset=0.1), theirs.KLIFNode(), "v_reset is 0.1 here and 0.0"),
    "klif detach": (KLIF(), theirs.KLIFNode(**DETACHED), "detach_reset is False here and True"),
    "klif input": (KLIF(decay_input=False), theirs.KLIFNode(**SOFT), "decay_input is False here and True"),
    "klif scale": (KLIF(), theirs.KLIFNode(scale_reset=True, **SOFT), "scale_reset is False here and True"),
}


@pytest.mark.parametrize(("ours", "other", "message"), REFUSED.values(), ids=REFUSED)
def test_a_module_that_does_not_fit_is_a_user_error_of_one_line_and_changes_nothing(ours, other, message):
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(UserError, match=rf"^(?=[^\n]*\Z).*{message}"):
        load_spikingjelly(ours, moved(other))
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_a_time_constant_is_no_setting_of_plif_but_its_weight():
    ours = PLIF(tau=5.0)
    load_spikingjelly(ours, theirs.ParametricLIFNode(3.0, **DETACHED))
    assert torch.sigmoid(ours.w).item() == pytest.approx(1 / 3)
