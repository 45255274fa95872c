"""The CUDA kernels against the neurons' references in float64: on a GPU where there is one, else interpreted.

Triton decides when it is imported whether it interprets, and for the whole process. So all that needs it is skipped
here, and one test runs this file once more, in a process of its own with TRITON_INTERPRET=1.
"""

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from snnrepro.neurons import (
    ALIF,
    IF,
    IPSU,
    LIF,
    MPEPSN,
    PLIF,
    PSN,
    PSU,
    RPSU,
    SPSN,
    Block,
    LIFMultiSpike,
    LIFNoReset,
    MaskedPSN,
    Neuron,
    SlidingPSN,
)
from snnrepro.neurons.adaptive import SHORTEST_TAU
from snnrepro.neurons.kernels import families
from snnrepro.neurons.noise import uniform
from snnrepro.neurons.surrogate import SHAPES

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
runs_kernels = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(), reason="no GPU: runs in the interpreter's process"
)
if INTERPRETED or torch.cuda.is_available():
    triton = pytest.importorskip("triton")
    from snnrepro.neurons.kernels import triton_math, triton_ops

SHAPES_OF_X = [(1, 7), (5, 70), (17, 1), (33, 7)]
# Neurons whose membrane comes closer to the threshold than this are not compared: rounding may decide their spikes.
NEAR = 2e-6


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED or torch.cuda.is_available(), reason="the kernels run in this process")
def test_interpreted_in_a_process_of_its_own():
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        cwd=Path(__file__).resolve().parents[2],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed, 3 skipped", done.stdout)  # this test and the compiler's
    assert passed is not None, done.stdout[-4000:]
    assert int(passed[1]) >= 280


class _Fused(torch.autograd.Function):
    """A family's two functions as one that autograd can call."""

    @staticmethod
    def forward(ctx: Any, family: str, settings: Any, *tensors: Tensor) -> Any:
        ctx.family, ctx.settings = family, settings
        ctx.save_for_backward(*tensors)
        outputs = getattr(triton_ops, f"{family}_forward")([t.contiguous() for t in tensors], settings)
        return tuple(outputs) if len(outputs) > 1 else outputs[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        tensors = [t.contiguous() for t in ctx.saved_tensors]
        needs = list(ctx.needs_input_grad[2:])
        backward = getattr(triton_ops, f"{ctx.family}_backward")
        found = backward([g.contiguous() for g in grads], tensors, ctx.settings, needs)
        assert len(found) == len(tensors)
        for to_tensor, tensor, need in zip(found, tensors, needs, strict=True):
            assert (to_tensor is not None) == need
            assert to_tensor is None or (to_tensor.shape, to_tensor.dtype) == (tensor.shape, tensor.dtype)
        return None, None, *found


def fused(settings: Any, *tensors: Tensor) -> Any:
    family = next(name for name, kind in families.FAMILIES.items() if isinstance(settings, kind))
    return _Fused.apply(family, settings, *tensors)


def surrogate(neuron: Neuron, membrane: bool) -> tuple[dict[str, Any], list[Tensor]]:
    """Settings of a neuron's surrogate and, where it is learned, its alpha."""
    alpha = neuron.surrogate.alpha
    learned = isinstance(alpha, Tensor)
    code = list(SHAPES).index(neuron.surrogate.name)
    settings = {"membrane": membrane, "surrogate": code, "alpha": 1.0 if learned else alpha}
    return settings, [alpha] if learned else []


RESETS = {"soft": families.SOFT, "hard": families.HARD, "none": families.NONE}


def resetting(neuron: Neuron, x: Tensor, membrane: bool) -> Tensor:
    common, alpha = surrogate(neuron, membrane)
    reset, rest, v_reset, detach, decay_input = families.SOFT, 0.0, 0.0, False, False
    if isinstance(neuron, LIFMultiSpike):
        leak = 1 - neuron.beta.clamp(0, 1)
    elif isinstance(neuron, LIFNoReset):
        leak, reset, decay_input = torch.full((1,), 1 / neuron.tau, device=x.device), families.NONE, neuron.decay_input
    else:
        reset, rest, v_reset, detach = RESETS[neuron.reset], neuron._rest, neuron.v_reset, neuron.detach_reset
        if isinstance(neuron, PLIF):
            leak, decay_input = torch.sigmoid(neuron.w)[None], neuron.decay_input
        elif isinstance(neuron, LIF):
            leak, decay_input = torch.full((1,), 1 / neuron.tau, device=x.device), neuron.decay_input
        else:
            leak = torch.zeros(1, device=x.device)
    settings = families.Resetting(
        **common,
        v_threshold=neuron.v_threshold,
        strict=not neuron.fires_at_threshold,
        reset=reset,
        rest=rest,
        v_reset=v_reset,
        detach=detach,
        decay_input=decay_input,
    )
    return fused(settings, x, leak, *alpha)


def psu(neuron: Neuron, x: Tensor, membrane: bool) -> Tensor:
    common, alpha = surrogate(neuron, membrane)
    linear = families.Product(True, 0, 1.0, 0.0, False, len(x))
    settings = {"decay": 1 / neuron.tau, "v_threshold": neuron.v_threshold}
    if isinstance(neuron, PSU):
        return fused(families.Estimated(**common, **settings, kind=families.PSU, drop=neuron.v_threshold), x, *alpha)
    if isinstance(neuron, RPSU):
        m = fused(linear, x.float(), neuron.weight, neuron.bias).to(x.dtype)
        return fused(families.Estimated(**common, **settings, kind=families.RPSU, drop=1.0), x, m, *alpha)
    if neuron.reset == "released":
        product = families.Product(**common, v_threshold=neuron.v_threshold, strict=True, band=len(x))
        return fused(product, x, neuron._kernel_over_time(x.float()), neuron.bias, *alpha)
    m = fused(linear, x.float(), neuron.weight, neuron.bias).to(x.dtype)
    return fused(families.Estimated(**common, **settings, kind=families.IPSU, drop=1.0), m, *alpha)


def first_crossing(neuron: Neuron, x: Tensor, membrane: bool) -> Tensor:
    common, alpha = surrogate(neuron, membrane)
    settings = families.FirstCrossing(**common, v_threshold=neuron.v_threshold, only_before=neuron.version == "v1")
    return fused(settings, x, neuron.beta.clamp(0, 1), *alpha)


def adaptive(neuron: Neuron, x: Tensor, membrane: bool) -> Tensor:
    common, alpha = surrogate(neuron, membrane)
    settings = families.Adaptive(**common, v_threshold=neuron.v_threshold, beta=neuron.beta)
    decays = (torch.exp(-1 / tau.clamp(min=SHORTEST_TAU)) for tau in (neuron.tau_m, neuron.tau_adp))
    return fused(settings, x, *decays, *alpha)


def product(neuron: Neuron, x: Tensor, membrane: bool) -> Tensor:
    common, alpha = surrogate(neuron, membrane)
    masked = isinstance(neuron, MaskedPSN)
    band = neuron.order if masked and neuron.causal else 0
    weight = neuron.masked_weight() if masked else neuron.weight
    settings = families.Product(**common, v_threshold=0.0, strict=False, band=band)
    return fused(settings, x, weight, neuron.bias, *alpha)


def sliding(neuron: Neuron, x: Tensor, membrane: bool) -> Tensor:
    common, alpha = surrogate(neuron, membrane)
    return fused(families.Filter(**common), x, neuron.weight, neuron.bias, *alpha)


class Case(NamedTuple):
    build: Callable[[int, int], Neuron]  # of T and N
    kernel: Callable[[Neuron, Tensor, bool], Tensor]


def _learned(name: str, alpha: float) -> dict[str, Any]:
    return {"surrogate": {"name": name, "alpha": alpha, "learnable": True}}


REFERENCE: dict[str, Any] = {"backend": "reference"}
ATAN = REFERENCE | _learned("atan", 2.0)
FAST = REFERENCE | _learned("fast_sigmoid", 3.0)

CASES = {
    "if": Case(lambda T, N: IF(detach_reset=False, **ATAN), resetting),
    "if_hard": Case(lambda T, N: IF(reset="hard", v_reset=-0.25, detach_reset=False, **REFERENCE), resetting),
    "lif": Case(lambda T, N: LIF(**ATAN), resetting),
    "lif_hard": Case(
        lambda T, N: LIF(reset="hard", v_reset=0.25, detach_reset=False, decay_input=False, **FAST), resetting
    ),
    "lif_none": Case(lambda T, N: LIF(reset="none", tau=1.5, **ATAN), resetting),
    "plif": Case(lambda T, N: PLIF(detach_reset=False, **ATAN), resetting),
    "plif_hard": Case(lambda T, N: PLIF(reset="hard", v_reset=-0.1, decay_input=False, **REFERENCE), resetting),
    "plif_none": Case(lambda T, N: PLIF(reset="none", **ATAN), resetting),
    "lif_multi_spike": Case(lambda T, N: LIFMultiSpike(None, N, **FAST), resetting),
    "lif_no_reset": Case(lambda T, N: LIFNoReset(**ATAN), resetting),
    "psu": Case(lambda T, N: PSU(**ATAN), psu),
    "ipsu": Case(lambda T, N: IPSU(T, **ATAN), psu),
    "ipsu_estimated": Case(lambda T, N: IPSU(T, reset="estimated", **ATAN), psu),
    "rpsu": Case(lambda T, N: RPSU(T, **ATAN), psu),
    "block_v1": Case(lambda T, N: Block(None, N, version="v1", beta=0.7, **FAST), first_crossing),
    "block_v2": Case(lambda T, N: Block(None, N, version="v2", **FAST), first_crossing),
    "alif": Case(lambda T, N: ALIF(None, N, tau_m=3.0, tau_m_std=0.5, tau_adp=6.0, **ATAN), adaptive),
    "psn": Case(lambda T, N: PSN(T, **ATAN), product),
    "masked_psn": Case(lambda T, N: MaskedPSN(T, order=min(3, T), lambda_=1.0, **ATAN), product),
    "masked_psn_begins": Case(lambda T, N: MaskedPSN(T, order=min(3, T), lambda_=0.5, **ATAN), product),
    "sliding_psn": Case(lambda T, N: SlidingPSN(order=3, init="kaiming", **ATAN), sliding),
    "sliding_psn_long": Case(lambda T, N: SlidingPSN(order=7, init="kaiming", **ATAN), sliding),
}


def the_input(T: int, N: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """`[T, N]`, about the thresholds."""
    x = torch.randn(T, N, generator=torch.Generator().manual_seed(100 * T + N)) + 0.5
    return x.to(DEVICE, dtype)


def upstream(T: int, N: int) -> Tensor:
    return torch.randn(T, N, generator=torch.Generator().manual_seed(7)).to(DEVICE)


def close(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    """To a part of the largest value: what is summed is summed in another order."""
    scale = max(1.0, wanted.abs().max().item()) if wanted.numel() else 1.0
    torch.testing.assert_close(found.double(), wanted.double(), rtol=tolerance, atol=tolerance * scale)


def compare(case: Case, T: int, N: int, membrane: bool, dtype: torch.dtype = torch.float32) -> None:
    """Output and every gradient, of the input and of the neuron's parameters."""
    torch.manual_seed(3)
    neuron = case.build(T, N).to(DEVICE)
    exact = copy.deepcopy(neuron).double()
    distances: list[Tensor] = []
    exact.surrogate.register_forward_hook(
        lambda module, inputs, output: distances.append(inputs[0].detach().view(-1, N))
    )
    x = the_input(T, N, dtype).requires_grad_()
    x64 = x.detach().double().requires_grad_()
    wanted = (exact.membrane if membrane else exact)(x64[:, None])[:, 0]
    found = case.kernel(neuron, x, membrane)
    half = dtype != torch.float32
    sure = torch.cat(distances).abs().min(0).values > (0.02 if half else NEAR)
    assert half or sure.sum() >= N - 1
    assert found.dtype == dtype
    assert found.shape == x.shape
    tolerance = 0.02 if half else 2e-5
    if membrane:
        close(found[:, sure], wanted[:, sure], tolerance)
    else:
        assert torch.equal(found[:, sure].double(), wanted[:, sure])
    g = (upstream(T, N) * sure).to(dtype)
    found.backward(g)
    wanted.backward(g.double())
    assert x.grad is not None
    assert x64.grad is not None
    close(x.grad, x64.grad, tolerance)
    for ours, theirs in zip(neuron.parameters(), exact.parameters(), strict=True):
        if ours.grad is not None:  # a gradient that autograd leaves out, as of a decay at T = 1, is 0
            close(ours.grad, torch.zeros_like(theirs) if theirs.grad is None else theirs.grad, tolerance)
        else:
            assert theirs.grad is None


@runs_kernels
@pytest.mark.parametrize("membrane", [False, True], ids=["spikes", "membrane"])
@pytest.mark.parametrize(("T", "N"), SHAPES_OF_X)
@pytest.mark.parametrize("name", CASES)
def test_output_and_gradients(name: str, T: int, N: int, membrane: bool):
    compare(CASES[name], T, N, membrane)


@runs_kernels
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", ["lif_none", "psu", "block_v2", "alif", "psn", "sliding_psn"])
def test_half_precision(name: str, dtype: torch.dtype):
    compare(CASES[name], 5, 70, False, dtype)
    compare(CASES[name], 5, 7, True, dtype)


@runs_kernels
@pytest.mark.parametrize("membrane", [False, True], ids=["spikes", "membrane"])
@pytest.mark.parametrize("learnable", [False, True], ids=["fixed", "learned"])
@pytest.mark.parametrize("name", SHAPES)
def test_surrogates(name: str, learnable: bool, membrane: bool):
    settings = {"name": name, "alpha": 1.5, "learnable": learnable}
    case = Case(lambda T, N: PLIF(detach_reset=False, surrogate=settings, **REFERENCE), resetting)
    compare(case, 5, 70, membrane)


@runs_kernels
@pytest.mark.parametrize("membrane", [False, True], ids=["spikes", "membrane"])
@pytest.mark.parametrize("name", ["psn", "masked_psn", "ipsu"])
def test_products_of_more_tiles_than_one(name: str, membrane: bool):
    compare(CASES[name], 70, 70, membrane)


@pytest.fixture
def by_chunks(monkeypatch: pytest.MonkeyPatch):
    """Every linear scan goes by chunks of steps."""
    monkeypatch.setattr(triton_ops, "LONG", 1)
    monkeypatch.setattr(triton_ops, "CHUNK", 8)


@runs_kernels
@pytest.mark.usefixtures("by_chunks")
@pytest.mark.parametrize("membrane", [False, True], ids=["spikes", "membrane"])
@pytest.mark.parametrize("name", ["lif_none", "plif_none", "lif_no_reset", "block_v1", "block_v2"])
def test_linear_scans_by_chunks(name: str, membrane: bool):
    for T, N in ((1, 1), (17, 7), (16, 18)):
        compare(CASES[name], T, N, membrane)


def drawn_case(T: int, N: int, gradient: str, given: bool, membrane: bool, dtype: torch.dtype = torch.float32) -> None:
    neuron = SPSN(gradient=gradient, backend="reference").double().to(DEVICE)
    neuron.hold_draw(5)
    x = the_input(T, N, dtype).requires_grad_()
    x64 = x.detach().double().requires_grad_()
    noise = uniform(neuron.noise_key, neuron.draw, 0, (T, 1, N), torch.float32)
    d = neuron.membrane(x64[:, None], noise=noise.double())
    wanted = (d if membrane else neuron(x64[:, None], noise=noise.double()))[:, 0]
    kind = {"sigmoid": families.SIGMOID_GRADIENT, "straight_through": families.STRAIGHT_THROUGH}
    settings = families.Drawn(membrane, given, 0.5, kind.get(gradient, families.NO_GRADIENT))
    found = fused(settings, x, *((noise[:, 0],) if given else (neuron.noise_key, neuron.draw)))
    assert found.dtype == dtype
    half = dtype != torch.float32
    sure = ((noise - torch.sigmoid(d.detach())).abs() > (1e-3 if half else NEAR))[:, 0].all(0)
    if membrane:
        close(found, wanted, 0.02 if half else 2e-5)
    else:
        assert torch.equal(found[:, sure].double(), wanted[:, sure])
    g = upstream(T, N).to(dtype)
    found.backward(g)
    wanted.backward(g.double())
    assert x.grad is not None
    assert x64.grad is not None
    close(x.grad, x64.grad, 0.02 if half else 2e-5)


@runs_kernels
@pytest.mark.parametrize("membrane", [False, True], ids=["spikes", "membrane"])
@pytest.mark.parametrize("given", [False, True], ids=["hashed", "given"])
@pytest.mark.parametrize("gradient", ["sigmoid", "straight_through", "none"])
def test_drawn(gradient: str, given: bool, membrane: bool):
    for T, N in SHAPES_OF_X:
        drawn_case(T, N, gradient, given, membrane)
    drawn_case(5, 70, gradient, given, membrane, torch.bfloat16)


@runs_kernels
@pytest.mark.usefixtures("by_chunks")
@pytest.mark.parametrize("membrane", [False, True], ids=["spikes", "membrane"])
@pytest.mark.parametrize("gradient", ["sigmoid", "straight_through"])
def test_drawn_by_chunks(gradient: str, membrane: bool):
    for given in (False, True):
        drawn_case(17, 7, gradient, given, membrane)


def guessed_case(
    T: int,
    N: int,
    variant: str,
    given: bool,
    errors: bool,
    membrane: bool,
    surrogate_settings: dict[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    torch.manual_seed(3)
    neuron = MPEPSN(T, variant=variant, backend="reference", v_threshold=0.6, **surrogate_settings).to(DEVICE)
    neuron.hold_draw(5)
    with torch.no_grad():
        neuron.kappa.normal_()
    exact = copy.deepcopy(neuron).double()
    x = the_input(T, N, dtype).requires_grad_()
    x64 = x.detach().double().requires_grad_()
    noise = uniform(neuron.noise_key, neuron.draw, 0, (T, 1, N), torch.float32)
    wanted = (exact.membrane if membrane else exact)(x64[:, None], noise=noise.double())[:, 0]
    common, alpha = surrogate(neuron, membrane)
    settings = families.Guessed(**common, given=given, current=variant == "current", beta=neuron.beta, errors=errors)
    source = (noise[:, 0],) if given else (neuron.noise_key, neuron.draw)
    found, squares = fused(settings, x, neuron.v_threshold, *source, *alpha)
    half = dtype != torch.float32
    tolerance = 0.02 if half else 2e-5
    assert found.dtype == dtype
    assert squares.shape == ((T - (variant == "current")) if errors else 0,)
    if membrane:
        close(found, wanted, tolerance)
    else:
        assert torch.equal(found.double(), wanted)
    g = upstream(T, N).to(dtype)
    ours, theirs = (found * g).sum(), (wanted * g.double()).sum()
    if errors:
        auxiliary = (squares / N * neuron.kappa).mean() if len(squares) else squares.sum()
        expected = exact.auxiliary_loss()
        close(auxiliary, expected, tolerance)
        ours, theirs = ours + 3 * auxiliary, theirs + 3 * expected
    ours.backward()
    theirs.backward()
    assert x.grad is not None
    assert x64.grad is not None
    close(x.grad, x64.grad, tolerance)
    for one, other in zip(neuron.parameters(), exact.parameters(), strict=True):
        if one.grad is not None:
            close(one.grad, torch.zeros_like(other) if other.grad is None else other.grad, tolerance)
        else:
            assert other.grad is None or not errors


@runs_kernels
@pytest.mark.parametrize("membrane", [False, True], ids=["spikes", "membrane"])
@pytest.mark.parametrize("given", [False, True], ids=["hashed", "given"])
@pytest.mark.parametrize("variant", ["previous", "current"])
def test_guessed(variant: str, given: bool, membrane: bool):
    for T, N in SHAPES_OF_X:
        guessed_case(T, N, variant, given, True, membrane, _learned("atan", 2.0))
    guessed_case(5, 70, variant, given, False, membrane, {})
    guessed_case(5, 70, variant, given, True, membrane, {"surrogate": "atan"}, torch.float16)


if INTERPRETED or torch.cuda.is_available():
    tl = triton.language

    @triton_math.kernel
    def _write_uniform(key, draw, out, N, T: tl.constexpr, BLOCK: tl.constexpr):
        n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        hashed = triton_math.of_draw(None, key, draw)
        for t in tl.range(T):
            tl.store(out + t * N + n, triton_math.uniform(hashed, t, n), mask=n < N)


@runs_kernels
@pytest.mark.parametrize(("key", "draw"), [(0, 0), (2**62 - 1, 1), (1234567890123456789, 2**40 + 3)])
def test_hashed_noise_is_that_of_every_form(key: int, draw: int):
    keys = [torch.tensor(number, device=DEVICE) for number in (key, draw)]
    out = torch.empty(5, 70, device=DEVICE)
    _write_uniform[(2,)](*keys, out, 70, T=5, BLOCK=64)
    assert torch.equal(out, uniform(keys[0], keys[1], 0, (5, 70), torch.float32))


def one_of_each(x: Tensor) -> dict[str, tuple[Any, list[Tensor]]]:
    """Settings and tensors of every family for an input `[T, N]`."""
    T, N = x.shape
    alpha, key = torch.tensor(2.0, device=x.device), torch.tensor(3, device=x.device)
    each, product = torch.full((N,), 0.5, device=x.device), torch.full((T, T), 0.5, device=x.device)
    return {
        "resetting": (families.Resetting(False, 0, 2.0, 1.0, False, 0, 0.0, 0.0, False, True), [x, each, alpha]),
        "estimated": (families.Estimated(False, 0, 2.0, 1.0, families.RPSU, 0.5, 1.0), [x, x, alpha]),
        "first_crossing": (families.FirstCrossing(False, 4, 2.0, 1.0, True), [x, each, alpha]),
        "drawn": (families.Drawn(False, False, 0.5, families.SIGMOID_GRADIENT), [x, key, key]),
        "guessed": (families.Guessed(False, 2, 2.0, False, False, 0.25, True), [x, alpha, key, key, alpha]),
        "adaptive": (families.Adaptive(False, 0, 2.0, 0.1, 1.8), [x, each, each, alpha]),
        "product": (families.Product(False, 0, 2.0, 0.0, True, 2), [x, product, product[0], alpha]),
        "filter": (families.Filter(False, 0, 2.0), [x, torch.full((3,), 0.5, device=x.device), alpha, alpha]),
    }


@runs_kernels
@pytest.mark.parametrize("family", families.FAMILIES)
@pytest.mark.parametrize("T", [1, 20])
def test_no_neurons(family: str, T: int):
    settings, tensors = one_of_each(torch.empty(T, 0, device=DEVICE))[family]
    outputs = getattr(triton_ops, f"{family}_forward")(tensors, settings)
    assert outputs[0].shape == (T, 0)
    needs = [tensor.is_floating_point() for tensor in tensors]
    found = getattr(triton_ops, f"{family}_backward")([torch.zeros_like(o) for o in outputs], tensors, settings, needs)
    for to_tensor, tensor, need in zip(found, tensors, needs, strict=True):
        assert to_tensor.shape == tensor.shape if need else to_tensor is None


@runs_kernels
@pytest.mark.parametrize("family", families.FAMILIES)
def test_only_what_is_needed(family: str):
    """Each gradient by itself is what it is among all, and the same every time."""
    for T in (5, 20):
        settings, tensors = one_of_each(the_input(T, 40))[family]
        outputs = getattr(triton_ops, f"{family}_forward")(tensors, settings)
        grads = [upstream(*o.shape) if o.ndim == 2 else torch.ones_like(o) for o in outputs]
        backward = getattr(triton_ops, f"{family}_backward")
        possible = [tensor.is_floating_point() for tensor in tensors]
        everything = backward(grads, tensors, settings, possible)
        for only, wanted in enumerate(everything):
            needs = [possible[i] and i == only for i in range(len(tensors))]
            found = backward(grads, tensors, settings, needs)
            assert [one is not None for one in found] == needs
            assert wanted is None or torch.equal(found[only], wanted)


@runs_kernels
@pytest.mark.parametrize("family", ["resetting", "first_crossing", "adaptive"])
def test_one_value_for_all_neurons(family: str):
    """As that value for each, and its gradient the sum."""
    settings, tensors = one_of_each(the_input(5, 40))[family]
    shared = [tensor[:1] if tensor.ndim == 1 else tensor for tensor in tensors]
    forward, backward = (getattr(triton_ops, f"{family}_{way}") for way in ("forward", "backward"))
    assert torch.equal(forward(shared, settings)[0], forward(tensors, settings)[0])
    needs = [True] * len(tensors)
    each, summed = (backward([upstream(5, 40)], some, settings, needs) for some in (tensors, shared))
    for one, of_each, tensor in zip(summed, each, shared, strict=True):
        assert one.shape == tensor.shape
        close(one, of_each.sum(0, keepdim=True) if of_each.shape != one.shape else of_each, 1e-5)


@runs_kernels
@pytest.mark.parametrize("family", families.FAMILIES)
def test_nan_gives_no_spike(family: str):
    x = torch.full((5, 7), torch.nan, device=DEVICE)
    settings, tensors = one_of_each(x)[family]
    assert not getattr(triton_ops, f"{family}_forward")(tensors, settings)[0].any()


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="the compiler is not the interpreter's")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_compiles_without_a_gpu(dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """For compute capability 9.0: what the interpreter takes may still be refused by the compiler."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget

    from snnrepro.neurons.kernels import triton_ops

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    names = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int64: "*i64", torch.int32: "*i32"}
    compiled = set()

    def compile_it(kernel: Any, programs: int, *arguments: Any, warps: int = 4, **constants: Any) -> None:
        assert [*kernel.arg_names[len(arguments) :]] == list(constants)
        signature, fixed = {}, {}
        values = dict(zip(kernel.arg_names, [*arguments, *constants.values()], strict=True))
        for i, (name, value) in enumerate(values.items()):
            if name in constants or value is None:
                signature[name], fixed[i,] = "constexpr", value
            elif isinstance(value, Tensor):
                signature[name] = names[value.dtype]
            else:
                signature[name] = "fp32" if isinstance(value, float) else "i32"
        source = triton.compiler.ASTSource(fn=kernel, signature=signature, constexprs=fixed)
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
        assert made.asm["ptx"]
        compiled.add(kernel.__name__)

    monkeypatch.setattr(triton_ops, "_run", compile_it)
    for T, N in ((4, 2**19), (600, 500)):
        for family, (settings, tensors) in one_of_each(torch.empty(T, N, dtype=dtype)).items():
            outputs = getattr(triton_ops, f"{family}_forward")(tensors, settings)
            needs = [tensor.is_floating_point() for tensor in tensors]
            grads = [torch.empty_like(output) for output in outputs]
            getattr(triton_ops, f"{family}_backward")(grads, tensors, settings, needs)
    assert len(compiled) == 20
