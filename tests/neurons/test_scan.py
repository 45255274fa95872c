"""The exponential scan in linear time, and the sliding PSN's filter: against loops written here, and as to memory.

y[t] = decay y[t-1] + gain x[t], x and y `[T, B, *]`, float64 unless a test says otherwise.
"""

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snnrepro.neurons import scan
from snnrepro.neurons.psn import fir, fir_reference
from snnrepro.neurons.scan import WIDE, exponential_scan, exponential_scan_dense

# Around one, two and three blocks, where the scan changes its form; 64 blocks and one step; blocks of blocks.
LENGTHS = [1, 2, 63, 64, 65, 128, 129, 130, 191, 257, 1000, 4097, 8257]
BY_FEATURE = torch.tensor([0.0, 0.01, 0.5, 0.999, 1.0], dtype=torch.float64)[:, None]  # [F, 1]: a step is [B, F, *]
DECAYS = {"0": 0.0, "0.01": 0.01, "0.5": 0.5, "1": 1.0, "by feature": BY_FEATURE}
every_length = pytest.mark.parametrize("T", LENGTHS)
every_decay = pytest.mark.parametrize("decay", DECAYS.values(), ids=DECAYS)
few_lengths = pytest.mark.parametrize("T", [1, 2, 65, 129, 257])
SHAPE = (2, 5, 3)  # B, F, W


@pytest.fixture(params=["narrow", "wide"])
def form(request, monkeypatch):
    """Both forms at any width: blocks, and step after step."""
    monkeypatch.setattr(scan, "WIDE", {"narrow": WIDE, "wide": 0}[request.param])


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def by_loop(x, decay, gain=1.0, initial=None):
    """In NumPy; for tensors of torch in autograd's sight it is the loop that its gradients come from."""
    y, steps = initial, []
    for step in x:
        y = gain * step if y is None else decay * y + gain * step
        steps.append(y)
    return np.stack(steps) if isinstance(x, np.ndarray) else torch.stack(steps)


def plain(value):
    return value.numpy() if isinstance(value, torch.Tensor) else value


@every_length
@every_decay
@pytest.mark.usefixtures("form")
def test_scan_equals_a_loop(T, decay):
    x = normal(T, *SHAPE)
    for gain, initial in itertools.product((1.0, -0.3), (None, 3 * normal(*SHAPE, seed=1))):
        expected = by_loop(x.numpy(), plain(decay), gain, plain(initial))
        y = exponential_scan(x, decay, gain, initial)
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("T", [1, 129, 257])
@pytest.mark.parametrize("width", [WIDE, WIDE + 1])
def test_scan_equals_a_loop_on_both_sides_of_the_width_that_ends_its_blocks(T, width):
    x, initial = normal(T, width), normal(width, seed=1)
    for decay in (0.5, torch.linspace(0, 1, width, dtype=torch.float64)):
        expected = by_loop(x.numpy(), plain(decay), 2.0, initial.numpy())
        np.testing.assert_allclose(exponential_scan(x, decay, 2.0, initial).numpy(), expected, rtol=1e-11, atol=1e-11)


def differentiated(function, *inputs) -> list[torch.Tensor]:
    """The output, and its gradients to the tensors among `inputs`, for an upstream gradient that is not uniform."""
    inputs = [i.clone().requires_grad_(True) if isinstance(i, torch.Tensor) else i for i in inputs]
    y = function(*inputs)
    leaves = [i for i in inputs if isinstance(i, torch.Tensor)]
    return [y.detach(), *torch.autograd.grad((y * normal(*y.shape, seed=9, dtype=y.dtype)).sum(), leaves)]


def assert_same(ours: list[torch.Tensor], expected: list[torch.Tensor], rtol: float = 1e-11) -> None:
    for found, wanted in zip(ours, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=rtol, atol=rtol * (1 + wanted.abs().max().item()))


@pytest.mark.parametrize("T", [1, 2, 64, 65, 128, 129, 257, 1000])
@every_decay
@pytest.mark.parametrize("start", [False, True], ids=["from 0", "from initial"])
@pytest.mark.usefixtures("form")
def test_gradients_to_input_decay_and_initial_are_those_of_a_loop(T, decay, start):
    inputs = (normal(T, *SHAPE), decay, 0.7, 3 * normal(*SHAPE, seed=1) if start else None)
    expected = differentiated(by_loop, *inputs) if T > 1 or start or decay is not BY_FEATURE else None
    if expected is None:  # a loop of one step from 0 does not see the decay
        *_, to_decay = differentiated(exponential_scan, *inputs)
        assert (to_decay == 0).all()
    else:
        assert len(expected) == 2 + (decay is BY_FEATURE) + start
        assert_same(differentiated(exponential_scan, *inputs), expected)


@pytest.mark.parametrize("T", [5, 130])
@pytest.mark.usefixtures("form")
def test_gradients_equal_finite_differences(T):
    x, initial = normal(T, 1, 2).requires_grad_(True), normal(1, 2, seed=1).requires_grad_(True)
    decay = torch.tensor([0.3, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *i: exponential_scan(i[0], i[1], 0.7, i[2]), (x, decay, initial))
    assert torch.autograd.gradcheck(lambda x: exponential_scan(x, 0.9, 0.7), (x,))


@few_lengths
@pytest.mark.parametrize("decay", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("gain", [1.0, -0.3])
def test_scan_and_the_quadratic_product_agree_in_values_and_gradients(T, decay, gain):
    x = normal(T, *SHAPE)
    assert_same(
        differentiated(lambda x: exponential_scan(x, decay, gain), x),
        differentiated(lambda x: exponential_scan_dense(x, decay, gain), x),
    )


@every_length
@every_decay
def test_float32_stays_within_a_few_roundings_of_float64(T, decay):
    x = normal(T, *SHAPE, dtype=torch.float32)
    narrow = decay.float() if isinstance(decay, torch.Tensor) else decay
    exact = by_loop(x.double().numpy(), plain(narrow.double() if isinstance(decay, torch.Tensor) else decay))
    # Relative to what was summed: rounding errors themselves decay as the sum does.
    summed = by_loop(x.double().abs().numpy(), plain(decay))
    error = np.abs(exponential_scan(x, narrow).double().numpy() - exact)
    assert (error <= 10 * 2**-24 * summed).all()


def test_input_and_upstream_gradient_need_not_be_contiguous():
    for T, decay in itertools.product((5, 130, 257), (0.5, BY_FEATURE)):
        views = [
            normal(5, T, 2, 3).permute(1, 2, 0, 3),
            normal(2 * T, *SHAPE)[::2],
            normal(1, *SHAPE).expand(T, *SHAPE),
        ]
        for x, start in itertools.product(views, (normal(3, 5, 2, seed=1).permute(2, 1, 0), None)):
            assert not x.is_contiguous()
            ours = differentiated(exponential_scan, x, decay, 1.0, start)
            whole = None if start is None else start.contiguous()
            assert all(map(torch.equal, ours, differentiated(exponential_scan, x.contiguous(), decay, 1.0, whole)))
        x = normal(T, *SHAPE).requires_grad_(True)
        (ours,) = torch.autograd.grad(exponential_scan(x, decay).sum(), x)  # the upstream is an expanded 1
        (expected,) = torch.autograd.grad(by_loop(x, decay).sum(), x)
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_input_initial_and_upstream_gradient_are_left_as_they_were():
    for T, start in itertools.product((5, 257), (None, normal(*SHAPE, seed=1))):
        x, upstream = normal(T, *SHAPE), normal(T, *SHAPE, seed=2)
        inputs = [x.clone().requires_grad_(True), BY_FEATURE.clone().requires_grad_(True)]
        first = None if start is None else start.clone().requires_grad_(True)
        y, given = exponential_scan(*inputs, 1.0, first), upstream.clone()
        kept = y.detach().clone()
        y.backward(given)
        assert torch.equal(inputs[0], x)
        assert torch.equal(inputs[1], BY_FEATURE)
        assert start is None or torch.equal(first, start)
        assert torch.equal(given, upstream)
        assert torch.equal(y, kept)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(cuts=st.sets(st.integers(1, 299), max_size=4))
def test_chunks_that_hand_their_last_value_on_equal_the_whole(cuts):
    def in_chunks(x, decay):
        y, parts = None, []
        for start, stop in itertools.pairwise([0, *sorted(cuts), 300]):
            parts.append(exponential_scan(x[start:stop], decay, 0.7, y))
            y = parts[-1][-1]
        return torch.cat(parts)

    x = normal(300, *SHAPE)
    for decay in (0.9, BY_FEATURE):
        whole = differentiated(lambda *i: exponential_scan(*i, 0.7), x, decay)
        assert_same(differentiated(in_chunks, x, decay), whole)


@pytest.mark.parametrize("T", [6, 128, 130, 300])
@every_decay
@pytest.mark.usefixtures("form")
def test_a_value_that_is_not_finite_changes_no_earlier_y_no_neighbour_and_no_later_gradient(T, decay):
    x = normal(T, *SHAPE)
    y, to_x = differentiated(lambda x: exponential_scan(x, decay), x)
    for t, value in itertools.product({1, T // 2, T - 1}, map(float, ("nan", "inf", "-inf"))):
        broken = x.clone()
        broken[t, 1, 2, 0] = value
        found = exponential_scan(broken, decay)
        assert torch.equal(found[:t], y[:t])
        assert not found[t, 1, 2, 0].isfinite()
        found[:, 1, 2, 0] = y[:, 1, 2, 0]
        assert torch.equal(found, y)
        upstream = normal(T, *SHAPE, seed=9)
        upstream[t, 1, 2, 0] = value
        leaf = x.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(exponential_scan(leaf, decay), leaf, upstream)
        assert torch.equal(gradient[t + 1 :], to_x[t + 1 :])
        assert not gradient[t, 1, 2, 0].isfinite()


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(
    T=st.integers(1, 300),
    decay=st.one_of(st.just(0.0), st.just(1.0), st.floats(1e-3, 1)),
    gain=st.floats(-2, 2),
    a=st.floats(-3, 3),
    b=st.floats(-3, 3),
    later=st.integers(0, 200),
)
def test_scan_is_linear_and_a_later_start_only_shifts_it(T, decay, gain, a, b, later):
    x, z, initial = normal(T, 4), normal(T, 4, seed=1), normal(4, seed=2)
    scanned = exponential_scan(x, decay, gain)
    torch.testing.assert_close(
        exponential_scan(a * x + b * z, decay, gain, a * initial),
        a * exponential_scan(x, decay, gain, initial) + b * exponential_scan(z, decay, gain),
        rtol=0,
        atol=1e-11,
    )
    shifted = exponential_scan(torch.cat([torch.zeros(later, 4).double(), x]), decay, gain)
    assert (shifted[:later] == 0).all()
    torch.testing.assert_close(shifted[later:], scanned, rtol=0, atol=1e-11)


COMPILED = {
    "fixed": lambda x, decay, initial: exponential_scan(x, 0.5, 0.7),
    "fixed, from initial": lambda x, decay, initial: exponential_scan(x, 0.5, 0.7, initial),
    "learned": lambda x, decay, initial: exponential_scan(x, decay, 0.7),
    "learned, from initial": lambda x, decay, initial: exponential_scan(x, decay, 0.7, initial),
}


@pytest.mark.parametrize("function", COMPILED.values(), ids=COMPILED)
@pytest.mark.parametrize("T", [1, 5, 130])
def test_compiled_scan_has_eager_values_and_gradients(function, T):
    def with_neighbours(x, decay, initial):  # something to fuse on both sides, and every input in use
        return torch.sigmoid(function(2 * x, decay, initial)) + 0 * (decay.sum() + initial.sum())

    torch.compiler.reset()
    inputs = (normal(T, *SHAPE), BY_FEATURE, normal(*SHAPE, seed=1))
    compiled = torch.compile(with_neighbours, backend="aot_eager", fullgraph=True)
    assert_same(differentiated(compiled, *inputs), differentiated(with_neighbours, *inputs), rtol=1e-14)


@pytest.mark.parametrize("T", [1, 130])
def test_the_op_that_torch_compile_sees_keeps_the_rules_of_custom_ops(T):
    op = torch.ops.snnrepro.exponential_scan.default
    for decay, initial in itertools.product((None, BY_FEATURE), (None, normal(*SHAPE, seed=1))):
        inputs = [None if i is None else i.clone().requires_grad_(True) for i in (normal(T, *SHAPE), decay, initial)]
        arguments = (inputs[0], inputs[1], 0.0 if decay is not None else 0.5, 0.7, inputs[2])
        assert set(torch.library.opcheck(op, arguments).values()) == {"SUCCESS"}


ORDERS_AND_LENGTHS = [(k, T) for k in (1, 2, 5, 9) for T in (1, 2, 3, 7, 40)]


@pytest.mark.parametrize(("k", "T"), ORDERS_AND_LENGTHS)
def test_filter_equals_its_reference_and_a_sum_over_the_past_also_where_the_past_is_shorter_than_the_order(k, T):
    x, weight, bias = normal(T, *SHAPE), normal(k, seed=1), normal(1, seed=2)[0]
    expected = differentiated(fir_reference, x, weight, bias)
    X, w = x.numpy(), weight.numpy()
    sums = [sum(w[i] * X[t - k + 1 + i] for i in range(k) if t - k + 1 + i >= 0) + bias.item() for t in range(T)]
    np.testing.assert_allclose(expected[0].numpy(), np.stack(sums), rtol=0, atol=1e-13)
    assert_same(differentiated(fir, x, weight, bias), expected, rtol=1e-13)
    assert (expected[2] == 0).sum() == max(0, k - T)  # the weights of inputs before the start


def test_filter_gradients_equal_finite_differences_and_take_any_layout():
    x, weight, bias = (i.requires_grad_(True) for i in (normal(5, 2, 2), normal(3, seed=1), normal(1, seed=2)[0]))
    assert torch.autograd.gradcheck(fir, (x, weight, bias))
    turned = normal(4, 6, 3).permute(2, 1, 0)
    whole = differentiated(fir, turned.contiguous(), weight.detach(), bias.detach())
    assert_same(differentiated(fir, turned, weight.detach(), bias.detach()), whole, rtol=1e-13)
    (ours,) = torch.autograd.grad(fir(x, weight, bias).sum(), x)  # the upstream is an expanded 1
    (expected,) = torch.autograd.grad(fir_reference(x, weight, bias).sum(), x)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-13)


# Each case is a fork of one process that has imported everything: its highest resident memory starts there.
MEASURE = """
import json, os, resource
import torch
from snnrepro.neurons import PSU, SPSN, Block, LIFNoReset

def train(neuron, T, N):
    x = torch.randn(T, 1, N, requires_grad=True)
    neuron(x).sum().backward()
    assert x.grad.abs().max() > 0

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

found = {}
for kind in (PSU, LIFNoReset, Block, SPSN):
    for T in (2**15, 2**16):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            torch.manual_seed(0)
            neuron = kind(T, 64)
            train(neuron, 200, 64)
            before = peak()
            train(neuron, T, 64)
            os.write(write, str(peak() - before).encode())
            os._exit(0)
        os.close(write)
        found[f"{kind.__name__} {T}"] = int(os.read(read, 100))
        assert os.waitpid(child, 0)[1] == 0
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def peaks() -> dict[str, int]:
    """Bytes beyond the start that forward and backward held at their highest, by neuron and T; 64 neurons, float32."""
    command = [sys.executable, "-c", MEASURE]
    at_once = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # glibc gives every tensor back as it is freed
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, env=at_once)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux counts it, in forked processes")
@pytest.mark.parametrize("name", ["PSU", "LIFNoReset", "Block", "SPSN"])
def test_65536_steps_of_training_stay_below_1_gib_and_memory_grows_with_t_not_its_square(name, peaks):
    half, full = peaks[f"{name} {2**15}"], peaks[f"{name} {2**16}"]
    assert 4 * 2**16 * 64 < full < 2**30  # more than the spikes alone, or it was not measured
    assert full < 2.2 * half
