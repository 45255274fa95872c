"""Every neuron under the contract of neuron.py, one row each, and what its paper says of it.

Expected membranes are NumPy loops written from the papers' equations: X, H `[T, N]`, float64.
"""

import copy
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snnrepro.errors import NonCausalError, UserError
from snnrepro.neurons import LIF, PSN, PSU, Neuron, Operations
from snnrepro.neurons.psu import psu_kernels


def lif_by_loop(x, tau=2.0, v_threshold=1.0, reset="soft", v_reset=0.0, decay_input=True):
    rest = v_reset if reset == "hard" else 0.0
    v, membrane = np.full(x.shape[1:], rest), []
    for current in x:
        h = v - (v - rest) / tau + (current / tau if decay_input else current)
        s = h >= v_threshold
        v = {"soft": h - v_threshold * s, "hard": np.where(s, v_reset, h), "none": h}[reset]
        membrane.append(h)
    return np.stack(membrane)


def psu_matrices(T, tau):
    A, R = np.zeros((T, T)), np.zeros((T, T))
    for i in range(T):
        for j in range(i + 1):
            A[i, j] = tau ** -(i - j + 1)
            R[i, j] = -(tau ** -(i - j)) if j < i else 0
    return A, R


def psu_by_sums(x, tau=2.0, v_threshold=0.5):
    A, R = psu_matrices(len(x), tau)
    D = np.einsum("ij,jn->in", A, x)
    return D + v_threshold * np.einsum("ij,jn->in", R, 1 / (1 + np.exp(-D)))


def psn_by_sums(neuron, x):
    W, b, steps = neuron.weight.detach().numpy(), neuron.bias.detach().numpy(), range(len(x))
    return np.stack([sum(W[i, j] * x[j] for j in steps) + b[i] for i in steps])


class Row(NamedTuple):
    neuron: type[Neuron]
    membrane: Callable[[Neuron, np.ndarray], np.ndarray]
    causal: bool
    at_threshold: bool
    operations: Operations  # for T = 5


ROWS = {
    # h = v + (x - v) / tau is one AC and one MAC, the soft reset one AC; v is kept.
    "lif": Row(LIF, lambda n, x: lif_by_loop(x), True, True, Operations(5, 10, 4, 0)),
    # d and the reset sum are a MAC each, h = d - th * reset another; one sigmoid; both sums are kept.
    "psu": Row(PSU, lambda n, x: psu_by_sums(x), True, False, Operations(15, 0, 8, 5)),
    # 5 outputs of 5 products, the bias added to each; all 5 inputs are kept.
    "psn": Row(PSN, psn_by_sums, False, True, Operations(25, 5, 20, 0)),
}
every_neuron = pytest.mark.parametrize("name", list(ROWS))
every_causal = pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.causal])
every_parallel = pytest.mark.parametrize("name", [name for name, row in ROWS.items() if "torch" in row.neuron.backends])
several_lengths = pytest.mark.parametrize("T", [1, 5, 16])
FAR = 1e-9  # nothing in the float64 data here lies closer to the threshold, or the test says so


def build(name: str, T: int, **changes) -> Neuron:
    """A neuron with a learned alpha, so that each has a parameter, and at most moderate silence."""
    torch.manual_seed(1)
    return ROWS[name].neuron(num_steps=T, surrogate={"name": "atan", "learnable": True}, **changes)


def current(T: int, *rest: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return 1 + 2 * torch.randn(T, *rest, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def gradients(neuron: Neuron, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_(True)
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(9), dtype=x.dtype)
    return list(torch.autograd.grad((neuron(x) * upstream).sum(), [x, *neuron.parameters()]))


@every_neuron
@several_lengths
def test_membrane_equals_the_papers_equation_and_spikes_are_its_crossings(name, T):
    row, neuron, x = ROWS[name], build(name, T).double(), current(T, 40)
    expected = row.membrane(neuron, x.numpy())
    distance = expected - neuron.v_threshold
    assert np.abs(distance).min() > FAR
    np.testing.assert_allclose(neuron.membrane(x).detach().numpy(), expected, rtol=0, atol=1e-12)
    spikes = neuron(x).detach().numpy()
    np.testing.assert_array_equal(spikes, distance > 0)
    assert 0 < spikes.mean() < 1


@every_parallel
@several_lengths
def test_reference_and_torch_agree_in_membrane_spikes_and_gradients(name, T):
    fast, slow = (build(name, T, backend=backend).double() for backend in ("torch", "reference"))
    x = current(T, 3, 4)
    h = slow.membrane(x)
    assert (h - slow.v_threshold).abs().min() > FAR
    torch.testing.assert_close(fast.membrane(x), h, rtol=0, atol=1e-12)
    assert torch.equal(fast(x), slow(x))
    for ours, theirs in zip(gradients(fast, x), gradients(slow, x), strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@every_neuron
def test_attributes_backends_and_operations_are_those_of_the_table(name):
    row, neuron = ROWS[name], build(name, 4)
    assert (neuron.causal, neuron.fires_at_threshold, neuron.stochastic) == (row.causal, row.at_threshold, False)
    assert [build(name, 4, backend=b).kernel for b in ("auto", "reference")] == [row.neuron.backends[0], "reference"]
    assert neuron.operations(5) == row.operations
    with pytest.raises(UserError, match=r"'referense'.*reference"):
        build(name, 4, backend="referense")


@every_neuron
@pytest.mark.parametrize("shape", [(), (3,), (2, 4), (2, 3, 5)])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_neurons_are_independent_whatever_the_trailing_shape(name, shape, batch):
    neuron, x = build(name, 5).double(), current(5, batch, *shape)
    spikes, h = neuron(x), neuron.membrane(x)
    assert spikes.shape == h.shape == x.shape
    one_by_one = [neuron(column[:, None]) for column in x.flatten(1).T]
    assert torch.equal(spikes.flatten(1), torch.cat([torch.empty(5, 0), *one_by_one], 1))


@every_neuron
def test_input_need_not_be_contiguous(name):
    neuron, x = build(name, 6).double(), current(4, 6, 5)
    for view in (x.transpose(0, 1), current(12, 2, 3)[::2], current(1, 2, 3).expand(6, 2, 3)):
        assert torch.equal(neuron(view), neuron(view.contiguous()))
    ours, theirs = gradients(neuron, x.transpose(0, 1)), gradients(neuron, x.transpose(0, 1).contiguous())
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@every_neuron
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_fp32_and_returned_as_it_came(name, dtype):
    neuron, x = build(name, 16), current(16, 50, dtype=dtype)
    assert neuron(x).dtype == neuron.membrane(x).dtype == dtype
    assert torch.equal(neuron(x).float(), neuron(x.float()))
    assert torch.equal(neuron.membrane(x), neuron.membrane(x.float()).to(dtype))
    if ROWS[name].causal:
        first, state = neuron.stream(x[:7])
        last, _ = neuron.stream(x[7:], state)
        assert first.dtype == last.dtype == dtype
        assert torch.equal(torch.cat([first, last]), neuron(x))


@every_neuron
def test_autocast_changes_neither_membrane_nor_spikes(name):
    neuron, x = build(name, 16), current(16, 50, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = [neuron(x), neuron.membrane(x)]
    assert all(map(torch.equal, under, [neuron(x), neuron.membrane(x)]))


no_currents = [torch.ones(5, 2, 3).to(kind) for kind in (torch.int64, torch.uint8, torch.bool, torch.complex64)]
no_currents += [torch.ones(0, 2, 3), torch.ones(5)]


@every_neuron
@pytest.mark.parametrize("x", no_currents, ids=lambda x: f"{x.dtype}{[*x.shape]}")
def test_input_that_is_no_current_is_a_user_error_of_one_line(name, x):
    neuron = build(name, 5)
    for call in (neuron, neuron.membrane, neuron.stream):
        with pytest.raises(UserError, match=r"^.*\Z"):
            call(x)


@every_neuron
def test_nan_gives_a_nan_membrane_and_no_spike(name):
    neuron, x = build(name, 5).double(), current(5, 2, 3)
    x[-1, 1, 1] = float("nan")
    assert neuron.membrane(x)[-1, 1, 1].isnan()
    assert neuron(x)[-1, 1, 1] == 0
    assert not neuron.membrane(x)[:, 0].isnan().any()


@every_neuron
def test_a_later_input_changes_earlier_membranes_only_where_the_neuron_looks_ahead(name):
    neuron, x = build(name, 6).double(), current(6, 2, 3)
    later = torch.cat([x[:4], x[4:] + 3])
    assert torch.equal(neuron.membrane(x)[:4], neuron.membrane(later)[:4]) == ROWS[name].causal


@every_causal
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_later_value_that_is_not_finite_leaves_the_past_of_a_causal_neuron_alone(name, value, request):
    if name == "psu":
        reason = "the dense product multiplies later values by 0, and 0 x inf is NaN: stream and reference differ"
        request.applymarker(pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason))
    neuron, x = build(name, 6).double(), current(6, 2, 3)
    broken = x.clone()
    broken[4, 0, 0] = value
    assert torch.equal(neuron.membrane(x)[:4], neuron.membrane(broken)[:4])
    assert torch.equal(neuron(broken), neuron.stream(broken)[0])


@every_causal
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(cuts=st.sets(st.integers(1, 15)))
def test_stream_equals_forward_for_any_split_and_leaves_the_given_state_alone(name, cuts):
    neuron, x = build(name, 16).double(), current(16, 2, 3)
    assert (neuron.membrane(x) - neuron.v_threshold).abs().min() > FAR
    bounds, state, parts = [0, *sorted(cuts), 16], None, []
    for start, stop in itertools.pairwise(bounds):
        neuron.stream(-x[start:stop], state)  # a branch not taken
        spikes, state = neuron.stream(x[start:stop], state)
        parts.append(spikes)
    assert torch.equal(torch.cat(parts), neuron(x))


@every_neuron
def test_stream_refuses_a_state_of_another_batch_and_a_neuron_that_looks_ahead(name):
    neuron = build(name, 4)
    if ROWS[name].causal:
        _, state = neuron.stream(torch.ones(2, 3, 5))
        with pytest.raises(UserError, match=r"\(3, 5\).*\(4, 5\)"):
            neuron.stream(torch.ones(2, 4, 5), state)
    else:
        with pytest.raises(NonCausalError, match=f"{ROWS[name].neuron.__name__}.*psu"):
            neuron.stream(torch.ones(2, 3, 5))


@every_causal
def test_an_empty_state_is_a_fresh_start(name):
    neuron, x = build(name, 4).double(), current(4, 2, 3)
    assert torch.equal(neuron.stream(x, {})[0], neuron(x))


@every_neuron
def test_another_length_is_a_user_error_naming_both_only_where_the_weights_fix_it(name):
    neuron = build(name, 4)
    if neuron.fixed_length:
        with pytest.raises(UserError, match=r"T = 4\D.*T = 7\b"):
            neuron(torch.ones(7, 2, 3))
        with pytest.raises(UserError, match="num_steps"):
            ROWS[name].neuron()
    else:
        assert neuron(torch.ones(7, 2, 3)).shape == (7, 2, 3)
        assert ROWS[name].neuron()(torch.ones(7, 2, 3)).shape == (7, 2, 3)


@every_neuron
def test_a_copy_and_a_state_dict_keep_every_parameter_and_share_none(name):
    saved, fresh, x = build(name, 5), build(name, 5), current(5, 2, 3, dtype=torch.float32)
    with torch.no_grad():
        for p in saved.parameters():
            p.add_(0.25)
    assert not torch.equal(gradients(saved, x)[0], gradients(fresh, x)[0])
    fresh.load_state_dict(saved.state_dict())
    for other in (fresh, copy.deepcopy(saved)):
        assert torch.equal(saved.membrane(x), other.membrane(x))
        assert all(torch.equal(a, b) for a, b in zip(gradients(saved, x), gradients(other, x), strict=True))
        other(x).sum().backward()
        assert all(p.grad is not None for p in other.parameters())
    assert all(p.grad is None for p in saved.parameters())


@every_neuron
@several_lengths
def test_every_time_step_of_the_input_gets_a_finite_gradient(name, T):
    largest = gradients(build(name, T).double(), current(T, 3, 4))[0].flatten(1).abs().amax(1)
    assert ((largest > 0) & largest.isfinite()).all()


@every_neuron
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated:DeprecationWarning")
def test_compiles_without_a_graph_break_and_equals_eager(name):
    torch.compiler.reset()
    neuron, x = build(name, 3), current(3, 2, 4, dtype=torch.float32)
    compiled = torch.compile(neuron, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), neuron(x))
    for ours, theirs in zip(gradients(compiled, x), gradients(neuron, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


# Beside each the arithmetic of 5 steps: x - v (where the input decays) and a MAC for the leak, then one AC for a soft
# reset; a hard one overwrites, and a resting potential other than 0 only shifts v.
LIF_VARIANTS = [
    ({"tau": 3.0}, Operations(5, 10, 4)),
    ({"tau": 1.0, "v_threshold": 0.5}, Operations(5, 10, 4)),
    ({"tau": 4 / 3, "reset": "hard", "decay_input": False}, Operations(5, 0, 4)),  # the MPE-PSN paper's, factor 0.25
    ({"decay_input": False}, Operations(5, 5, 4)),
    ({"reset": "hard", "v_reset": -0.5, "tau": 3.0}, Operations(5, 5, 4)),
    ({"reset": "hard", "v_reset": 0.25, "decay_input": False, "tau": 1.5}, Operations(5, 0, 4)),
    ({"reset": "none"}, Operations(5, 5, 4)),
    ({"reset": "none", "v_reset": 0.7, "decay_input": False}, Operations(5, 0, 4)),  # nothing to reset: 0.7 is unused
]


@pytest.mark.parametrize(("changes", "operations"), LIF_VARIANTS, ids=str)
@several_lengths
def test_every_lif_variant_equals_its_loop_streams_and_costs_what_its_step_does(changes, operations, T):
    neuron, x = LIF(**changes), current(T, 40)
    expected = lif_by_loop(x.numpy(), **changes)
    np.testing.assert_allclose(neuron.membrane(x).numpy(), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(neuron(x).numpy(), expected >= neuron.v_threshold)
    head, state = neuron.stream(x[: T // 2 + 1])
    tail = neuron.stream(x[T // 2 + 1 :], state)[0] if T > 1 else head[:0]
    assert torch.equal(torch.cat([head, tail]), neuron(x))
    assert neuron.operations(5) == operations


@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
def test_lif_gradient_is_that_of_a_straight_through_loop_and_detach_reset_changes_nothing_else(reset):
    def spike(u):
        smooth = torch.atan(torch.pi * u) / torch.pi  # alpha 2: its slope is 1 / (1 + (pi u)^2)
        return smooth + ((u >= 0).double() - smooth).detach()

    x, ours = current(7, 10), {}
    upstream = torch.randn(7, 10, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    for detach in (True, False):
        v, spikes, leaf = torch.zeros(10), [], x.clone().requires_grad_(True)
        for step in leaf:
            h = 0.5 * v + 0.5 * step
            spikes.append(spike(h - 1))
            s = spikes[-1].detach() if detach else spikes[-1]
            v = {"soft": h - s, "hard": (1 - s) * h, "none": h}[reset]
        (expected,) = torch.autograd.grad((torch.stack(spikes) * upstream).sum(), leaf)
        ours[detach] = gradients(LIF(reset=reset, detach_reset=detach), x)[0]
        torch.testing.assert_close(ours[detach], expected, rtol=1e-10, atol=1e-14)
    assert torch.equal(ours[True], ours[False]) == (reset == "none")
    assert torch.equal(LIF(reset=reset, detach_reset=True)(x), LIF(reset=reset, detach_reset=False)(x))


IMPOSSIBLE = [(LIF, {"tau": 0.5}), (LIF, {"tau": float("nan")}), (LIF, {"v_threshold": 0.0}), (LIF, {"reset": "sofft"})]
IMPOSSIBLE += [(LIF, {"backend": "torch"}), (PSU, {"tau": 0.5}), (PSU, {"v_threshold": -1.0}), (PSN, {"num_steps": 0})]


@pytest.mark.parametrize(("neuron", "changes"), IMPOSSIBLE)
def test_an_impossible_setting_is_a_user_error_that_names_it(neuron, changes):
    with pytest.raises(UserError, match=next(iter(changes))):
        neuron(**changes)


def test_lif_fires_at_its_threshold():
    assert LIF()(torch.tensor([[2.0, 2.0 - 2**-20]])).tolist() == [[1, 0]]  # h = x / 2


def test_psu_is_silent_at_its_threshold():
    x = torch.tensor([[1.0, 1.0 + 2**-20]])  # h = x / 2, th = 1 / 2
    assert PSU()(x).tolist() == PSU(backend="reference")(x).tolist() == PSU().stream(x)[0].tolist() == [[0, 1]]


def test_psn_fires_at_a_membrane_of_0():
    neuron = PSN(1)
    torch.nn.init.ones_(neuron.weight)  # h = x - 1
    assert neuron(torch.tensor([[1.0, 1.0 - 2**-20]])).tolist() == [[1, 0]]


def test_psu_with_true_spikes_for_its_estimate_is_the_soft_reset_lif_at_tau_2_and_not_at_3():
    x, gap = current(16, 40), {}
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


@pytest.mark.parametrize("changes", [{"tau": 1.0}, {"tau": 3.0}, {"v_threshold": 1.5}, {"tau": 5.0}], ids=str)
def test_psu_membrane_equals_the_papers_sums_at_any_tau_and_threshold(changes):
    x = current(16, 40)
    expected = psu_by_sums(x.numpy(), **changes)
    for backend in ("torch", "reference"):
        neuron = PSU(**changes, backend=backend)
        np.testing.assert_allclose(neuron.membrane(x).numpy(), expected, rtol=0, atol=1e-11)
    assert torch.equal(neuron.stream(x)[0], neuron(x))


def test_psn_starts_with_bias_minus_1_and_weights_uniform_within_1_over_sqrt_t():
    neuron = build("psn", 64)
    assert neuron.bias.tolist() == [-1.0] * 64
    assert 0.99 / 8 < neuron.weight.abs().max() <= 1 / 8
    assert neuron.weight.std().item() == pytest.approx((3 * 64) ** -0.5, rel=0.05)
