"""Every neuron of the table under the contract of neuron.py: shapes, dtypes, bad input, causality, streams, copies."""

import copy
import functools
import itertools
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from table import (
    FAR,
    FEATURES,
    ROWS,
    build,
    current,
    every_causal,
    every_neuron,
    expected,
    gradients,
    noise,
    refused,
    several_lengths,
    spikes_and_gradients,
)

from snnrepro.errors import NonCausalError
from snnrepro.neurons import ALIF
from snnrepro.neurons.stepped import SteppedNeuron

every_per_feature = pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.per_feature])
every_stochastic = pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.stochastic])
every_fixed_length = pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.fixed_length])
# The T x T product of these multiplies later values by 0, and 0 x inf is NaN. The filter form of sliding_psn does not.
PRODUCTS = {"masked_psn:full", "ipsu", "ipsu_estimated", "rpsu", "sliding_psn"}
LEAVE_THE_PAST_ALONE = [(name, "auto") for name, row in ROWS.items() if row.causal and name not in PRODUCTS]
LEAVE_THE_PAST_ALONE += [("sliding_psn", "fir")]


def part(drawn: dict[str, torch.Tensor], *index) -> dict[str, torch.Tensor]:
    return {key: value[index] for key, value in drawn.items()}


def one_by_one(name: str, x: torch.Tensor) -> torch.Tensor:
    """`[T, B, *]` as `[T, N, 1]` for neurons that share all parameters, else `[T, N, F]`."""
    return x.movedim(2, -1).flatten(1, -2) if ROWS[name].per_feature else x.flatten(1)[..., None]


@every_neuron
@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    T=st.integers(1, 40),
    batch=st.integers(0, 3),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_form_gives_spikes_of_the_inputs_shape_and_dtype_that_equal_the_references(
    name, T, batch, shape, dtype, seed
):
    x = current(name, T, batch, *shape, seed=seed, dtype=dtype)
    drawn = noise(name, x)
    slow = build(name, T, shape[0], backend="reference").to(torch.promote_types(dtype, torch.float32))
    h, wanted = slow.membrane(x, **drawn), slow(x, **drawn)
    # A decision this near to its threshold may be rounded to the other side, and with it what follows a reset.
    near = 1e-9 if dtype == torch.float64 else 1e-4
    clear = (h.double() - slow.threshold(x[0])).abs() > near
    settled = torch.ones_like(clear)
    if isinstance(slow, ALIF):  # whose threshold moves; its formula takes [T, B, F]
        clear = settled = torch.full_like(clear, x.ndim == 3 and x.numel() > 0 and expected(name, slow, x)[2] > near)
    elif isinstance(slow, SteppedNeuron):
        clear = clear.cumprod(0).bool()
        settled[1:] = clear[:-1]
    for backend in slow.backends:
        neuron = build(name, T, shape[0], backend=backend).to(torch.promote_types(dtype, torch.float32))
        membrane, spikes = neuron.membrane(x, **drawn), neuron(x, **drawn)
        assert spikes.shape == membrane.shape == x.shape
        assert spikes.dtype == membrane.dtype == dtype
        assert ((spikes == 0) | (spikes == 1)).all()
        if ROWS[name].neuron.__name__ not in ("Block", "SPSN"):  # their spikes hang on more than h of one step
            assert torch.equal(spikes[clear], wanted[clear])
        rtol = 1e-2 if dtype.itemsize == 2 else 1e-4
        torch.testing.assert_close(membrane[settled], h[settled], rtol=rtol, atol=1e-3)


@every_neuron
@pytest.mark.parametrize("shape", [(), (3,), (2, 4), (2, 3, 5)])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_neurons_are_independent_whatever_the_trailing_shape(name, shape, batch):
    neuron, x = build(name, 5, *shape[:1]).double(), current(name, 5, batch, *shape)
    drawn = noise(name, x)
    if ROWS[name].per_feature and not shape:
        with refused("4 features", "dim 2"):
            neuron(x)
        return
    spikes, h = neuron(x, **drawn), neuron.membrane(x, **drawn)
    assert spikes.shape == h.shape == x.shape
    apart = {key: one_by_one(name, value) for key, value in {"x": x, **drawn}.items()}
    alone = [neuron(*(y[:, i : i + 1] for y in apart.values())) for i in range(apart["x"].shape[1])]
    together = one_by_one(name, spikes)
    assert torch.equal(together, torch.cat([together[:, :0], *alone], 1))


@every_neuron
def test_one_step_of_an_empty_batch_passes_and_gives_gradients_of_zero(name):
    neuron, x = build(name, 1).double(), current(name, 1, 0, FEATURES)
    assert neuron(x, **noise(name, x)).shape == neuron.membrane(x, **noise(name, x)).shape == x.shape
    to_x, *to_parameters = gradients(neuron, x, **noise(name, x))
    assert to_x.shape == x.shape
    assert not any(g.any() for g in to_parameters)
    if ROWS[name].causal:
        assert neuron.stream(x, **noise(name, x))[0].shape == x.shape


@every_neuron
def test_input_and_incoming_gradient_need_not_be_contiguous(name):
    neuron = build(name, 6).double()
    views = [
        current(name, 4, 6, FEATURES).transpose(0, 1),
        current(name, 12, 2, FEATURES)[::2],
        current(name, 1, 2, FEATURES).expand(6, 2, FEATURES),
        current(name, 6, 2, 3, FEATURES).transpose(2, 3),
    ]
    for view in views:
        drawn = noise(name, view)
        assert torch.equal(neuron(view, **drawn), neuron(view.contiguous(), **drawn))
        ours, theirs = gradients(neuron, view, **drawn), gradients(neuron, view.contiguous(), **drawn)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        found = []
        for upstream in (torch.ones(()).double().expand(view.shape), torch.ones_like(view)):
            x = view.clone(memory_format=torch.contiguous_format).requires_grad_(True)
            found += torch.autograd.grad(neuron(x, **drawn), x, upstream)
        assert torch.equal(*found)


@every_neuron
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_fp32_and_returned_as_it_came(name, dtype):
    neuron, x = build(name, 16), current(name, 16, 12, FEATURES, dtype=dtype)
    drawn = noise(name, x)
    assert neuron(x, **drawn).dtype == neuron.membrane(x, **drawn).dtype == dtype
    assert torch.equal(neuron(x, **drawn).float(), neuron(x.float(), **drawn))
    assert torch.equal(neuron.membrane(x, **drawn), neuron.membrane(x.float(), **drawn).to(dtype))
    to_x, *to_parameters = gradients(neuron, x, **drawn)
    assert to_x.dtype == dtype
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in to_parameters)


@every_neuron
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_parameters_of_half_precision_are_used_in_fp32(name, dtype):
    neuron, x = build(name, 16).to(dtype), current(name, 16, 3, FEATURES, dtype=dtype)
    with torch.no_grad():
        for p in neuron.parameters():
            p.add_(0.1)
    drawn = noise(name, x)
    assert all(g.dtype == dtype and g.isfinite().all() for g in gradients(neuron, x, **drawn))
    h, spikes, margin = expected(name, neuron, x, **drawn)
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(neuron.membrane(x, **drawn).double(), torch.tensor(h), rtol=rounding, atol=rounding / 50)
    if margin > 1e-5:
        assert torch.equal(neuron(x, **drawn).double(), torch.tensor(spikes))


@every_neuron
def test_autocast_changes_neither_membrane_nor_spikes(name):
    neuron, x = build(name, 16), current(name, 16, 12, FEATURES, dtype=torch.float32)
    drawn = noise(name, x)
    calls = [neuron, neuron.membrane, *([lambda *a, **k: neuron.stream(*a, **k)[0]] if ROWS[name].causal else [])]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = [call(x, **drawn) for call in calls]
    assert all(torch.equal(a, call(x, **drawn)) for a, call in zip(under, calls, strict=True))


no_currents = [torch.ones(5, 2, FEATURES).to(kind) for kind in (torch.int64, torch.uint8, torch.bool, torch.complex64)]
no_currents += [torch.ones(0, 2, FEATURES), torch.ones(5)]


@every_neuron
@pytest.mark.parametrize("x", no_currents, ids=lambda x: f"{x.dtype}{[*x.shape]}")
def test_input_that_is_no_current_is_a_user_error_of_one_line(name, x):
    neuron = build(name, 5)
    what = r"\[T, B, \*\] with T >= 1" if x.is_floating_point() else f"floating-point.*{x.dtype}"
    for call in (neuron, neuron.membrane, *([neuron.stream] if ROWS[name].causal else [])):
        with refused(what):
            call(x)


@every_per_feature
def test_another_number_of_features_is_a_user_error_naming_both(name):
    neuron = build(name, 5, 4)
    for call in (neuron, neuron.membrane, neuron.stream):
        for shape in ((5, 2, 3), (5, 4, 3, 4), (5, 4)):
            with refused("4 features", str(shape)[1:-1]):
                call(torch.ones(shape))


@every_neuron
def test_nan_gives_a_nan_membrane_and_no_spike_and_stays_in_its_neuron(name):
    for at in (0, 2, 4):
        neuron, x = build(name, 5).double(), current(name, 5, 2, FEATURES)
        drawn = noise(name, x)
        x[at, 1, 1] = float("nan")
        h, spikes = neuron.membrane(x, **drawn), neuron(x, **drawn)
        assert h[at, 1, 1].isnan()
        assert spikes[at, 1, 1] == 0
        assert ((spikes == 0) | (spikes == 1)).all()
        h[:, 1, 1] = 0
        assert not h.isnan().any()


@every_neuron
def test_a_later_input_changes_earlier_membranes_only_where_the_neuron_looks_ahead(name):
    neuron, x = build(name, 6).double(), current(name, 6, 2, FEATURES)
    drawn, later = noise(name, x), torch.cat([x[:4], x[4:] + 3])
    same = torch.equal(neuron.membrane(x, **drawn)[:4], neuron.membrane(later, **drawn)[:4])
    assert same == neuron.causal == ROWS[name].causal


@pytest.mark.parametrize(("name", "backend"), LEAVE_THE_PAST_ALONE)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_later_value_that_is_not_finite_leaves_the_past_of_a_causal_neuron_alone(name, backend, value):
    neuron, x = build(name, 6, **({} if backend == "auto" else {"backend": backend})).double(), current(name, 6, 2, 4)
    broken, drawn = x.clone(), noise(name, x)
    broken[4, 0, 0] = value
    assert torch.equal(neuron.membrane(x, **drawn)[:4], neuron.membrane(broken, **drawn)[:4])
    # What follows an infinite value in its own neuron is infinite or NaN, as the form has it.
    spikes, streamed = neuron(broken, **drawn), neuron.stream(broken, **drawn)[0]
    assert torch.equal(spikes[:4], streamed[:4])
    assert torch.equal(spikes.flatten(1)[:, 1:], streamed.flatten(1)[:, 1:])


@functools.cache
def sequence(name: str, dtype: torch.dtype):
    """A neuron, 16 steps clear of its threshold, and the spikes of the whole."""
    neuron, x = build(name, 16), current(name, 16, 2, FEATURES, dtype=dtype)
    neuron, drawn = neuron.double() if dtype == torch.float64 else neuron, noise(name, x)
    assert expected(name, neuron, x, **drawn)[2] > (FAR if dtype == torch.float64 else 1e-5)
    return neuron, x, drawn, neuron(x, **drawn)


@every_causal
@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(cuts=st.sets(st.integers(1, 15)), dtype=st.sampled_from([torch.float64, torch.float16]))
def test_stream_equals_forward_for_any_split_and_leaves_the_given_state_alone(name, cuts, dtype):
    neuron, x, drawn, whole = sequence(name, dtype)
    state, parts = None, []
    for start, stop in itertools.pairwise([0, *sorted(cuts), 16]):
        steps, beside = slice(start, stop), part(drawn, slice(start, stop))
        neuron.stream(-x[steps], state, **beside)  # a branch not taken
        spikes, state = neuron.stream(x[steps], state, **beside)
        parts.append(spikes)
    assert parts[0].dtype == dtype
    assert torch.equal(torch.cat(parts), whole)


@every_causal
def test_streamed_chunks_pass_the_gradients_of_the_whole(name):
    neuron, x, drawn, _ = sequence(name, torch.float64)
    x = x.clone().requires_grad_(True)
    head, state = neuron.stream(x[:7], **part(drawn, slice(0, 7)))
    tail, _ = neuron.stream(x[7:], state, **part(drawn, slice(7, 16)))
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(9), dtype=x.dtype)
    (found,) = torch.autograd.grad((torch.cat([head, tail]) * upstream).sum(), x)
    wanted = gradients(neuron, x.detach(), **drawn)[0]
    if name.startswith("block"):  # a spike of the second chunk passes no gradient to the first one's crossings
        found, wanted = found[7:], wanted[7:]
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@every_neuron
def test_stream_refuses_a_neuron_that_looks_ahead_and_a_state_of_another_batch_or_neuron(name):
    neuron, row = build(name, 4), ROWS[name]
    if not row.causal:
        with pytest.raises(NonCausalError, match=rf"^{row.neuron.__name__}.*psu.*\Z"):
            neuron.stream(torch.ones(2, 3, 4))
        return
    _, state = neuron.stream(torch.ones(2, 3, 4))
    with refused(r"\(3, 4\)", r"\(5, 4\)"):
        neuron.stream(torch.ones(2, 5, 4), state)
    other = build("lif" if name != "lif" else "psu", 4)
    with refused(row.neuron.__name__, type(other).__name__):
        other.stream(torch.ones(2, 3, 4), state)
    with refused(row.neuron.__name__, type(other).__name__):
        neuron.stream(torch.ones(2, 3, 4), other.stream(torch.ones(2, 3, 4))[1])


@every_causal
def test_an_empty_state_is_a_fresh_start(name):
    neuron, x, drawn, whole = sequence(name, torch.float64)
    assert torch.equal(neuron.stream(x, {}, **drawn)[0], whole)


@every_causal
def test_streaming_ends_at_the_length_that_the_weights_fix_and_nowhere_else(name):
    neuron = build(name, 4)
    _, state = neuron.stream(torch.ones(3, 2, 4))
    if neuron.fixed_length:
        with refused(r"T = 4\b", r"\b5\b"):
            neuron.stream(torch.ones(2, 2, 4), state)
        with refused(r"T = 4\b", r"\b5\b"):
            neuron.stream(torch.ones(5, 2, 4))
    else:
        assert neuron.stream(torch.ones(20, 2, 4), state)[0].shape == (20, 2, 4)
    assert neuron.stream(torch.ones(1, 2, 4), state)[0].shape == (1, 2, 4)


@every_fixed_length
def test_another_length_is_a_user_error_naming_both_where_the_weights_fix_it(name):
    neuron = build(name, 4)
    for call in (neuron, neuron.membrane):
        for T in (3, 7):
            with refused(r"T = 4\b", rf"T = {T}\b"):
                call(torch.ones(T, 2, 4))


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.fixed_length])
def test_any_length_gives_the_same_where_the_weights_do_not_fix_it(name):
    x = current(name, 7, 2, FEATURES)
    drawn = noise(name, x)
    built = build(name, 5).double()
    h, spikes, _ = expected(name, built, x, **drawn)
    torch.testing.assert_close(built.membrane(x, **drawn).detach(), torch.tensor(h), rtol=1e-12, atol=1e-12)
    assert torch.equal(built(x, **drawn), torch.tensor(spikes))


@every_neuron
def test_a_copy_and_a_state_dict_keep_every_parameter_and_share_none(name):
    saved, fresh = build(name, 5), build(name, 5, seed=2)
    x = current(name, 5, 2, FEATURES, dtype=torch.float32)
    drawn = noise(name, x)
    saved.on_epoch_start(1, 17)  # halfway into the mask of masked PSN
    with torch.no_grad():
        for p in saved.parameters():
            p.sub_(0.25)
    if list(saved.parameters()):
        assert not torch.equal(gradients(saved, x, **drawn)[0], gradients(fresh, x, **drawn)[0])
    saved(x, **drawn).sum()  # leaves a graph behind
    assert {key for key, _ in saved.named_parameters()} <= saved.state_dict().keys()
    fresh.load_state_dict(saved.state_dict())
    for other in (fresh, copy.deepcopy(saved)):
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in saved.state_dict().items())
        assert torch.equal(saved.membrane(x, **drawn), other.membrane(x, **drawn))
        assert all(map(torch.equal, gradients(saved, x, **drawn), gradients(other, x, **drawn)))
        other(x.clone().requires_grad_(True), **drawn).sum().backward()
        assert all(p.grad is not None for key, p in other.named_parameters() if key != "kappa")
    assert all(p.grad is None for p in saved.parameters())


@every_neuron
@several_lengths
def test_every_time_step_of_the_input_gets_a_finite_gradient(name, T):
    x = current(name, T, 6, FEATURES)
    largest = gradients(build(name, T).double(), x, **noise(name, x))[0].flatten(1).abs().amax(1)
    assert ((largest > 0) & largest.isfinite()).all()


@every_neuron
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated:DeprecationWarning")
def test_compiles_without_a_graph_break_and_equals_eager(name):
    torch.compiler.reset()
    neuron, x = build(name, 3), current(name, 3, 2, FEATURES, dtype=torch.float32)
    drawn, compiled = noise(name, x), torch.compile(neuron, fullgraph=True, backend="aot_eager")
    assert expected(name, neuron, x, **drawn)[2] > 1e-5
    ours, theirs = (spikes_and_gradients(form, x, **drawn) for form in (compiled, neuron))
    assert torch.equal(ours[0], theirs[0])
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@every_stochastic
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated:DeprecationWarning")
def test_compiled_draws_are_those_of_eager_and_count_on(name):
    torch.compiler.reset()
    eager, x = build(name, 3), current(name, 3, 20, FEATURES, dtype=torch.float32)
    twin = copy.deepcopy(eager)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    rounds = [(eager(x), compiled(x)) for _ in range(3)]
    assert all(torch.equal(ours, theirs) for ours, theirs in rounds)
    assert not torch.equal(rounds[0][0], rounds[1][0])
    assert twin.draw == 3


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("name", ["lif", "psu", "psn"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_inductor_equals_eager_in_spikes_and_gradients(name):
    torch.compiler.reset()
    neuron, x = build(name, 3), current(name, 3, 2, FEATURES, dtype=torch.float32)
    compiled = torch.compile(neuron, fullgraph=True, backend="inductor")
    assert expected(name, neuron, x)[2] > 1e-5
    ours, theirs = (spikes_and_gradients(form, x) for form in (compiled, neuron))
    assert torch.equal(ours[0], theirs[0])
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
