"""The fused kernels as neurons run them: blocks and threads, layouts of memory, what is not served, how it is said."""

import os
import subprocess
import sys
import traceback

import numpy as np
import pytest
import torch
from table import ROWS, build, current, noise, refused, spikes_and_gradients
from torch.utils.checkpoint import checkpoint

from snnrepro.neurons import IPSU, LIF, MPEPSN, PSN, PSU, SPSN, Block
from snnrepro.neurons.kernels import ops
from snnrepro.neurons.kernels.cpu_math import sigmoid_row, uniform_row
from snnrepro.neurons.kernels.cpu_ops import FEW, KEEP_ABOVE, LONG_PRODUCT, SERIAL
from snnrepro.neurons.kernels.families import CODES
from snnrepro.neurons.noise import uniform
from snnrepro.neurons.surrogate import SHAPES

FUSED = [name for name, row in ROWS.items() if "fused" in row.neuron.backends]
every_fused = pytest.mark.parametrize("name", FUSED)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def other_form(name: str, T: int, **changes) -> torch.nn.Module:
    """The neuron of the table in the fastest form that is made of tensor operations."""
    forms = [form for form in ROWS[name].neuron.backends if form != "fused"]
    return build(name, T, backend=forms[0], **changes).double()


@every_fused
@pytest.mark.parametrize(("T", "batch", "features"), [(11, 1500, 9), (70, 50, 41), (300, 1, 450)])
def test_fused_equals_the_other_forms_where_it_takes_several_blocks_and_threads(name, T, batch, features):
    x = 0.3 * current(name, T, batch, features)
    assert x.numel() > SERIAL
    drawn = noise(name, x)
    ours = spikes_and_gradients(build(name, T, features, backend="fused").double(), x, **drawn)
    theirs = spikes_and_gradients(other_form(name, T, features=features), x, **drawn)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["psn", "ipsu", "rpsu", "masked_psn:full"])
@pytest.mark.parametrize("T", [KEEP_ABOVE + 5, LONG_PRODUCT + 3])
@pytest.mark.parametrize("features", [5, FEW + 1])
def test_long_products_give_the_same_whoever_multiplies_and_keeps_what(name, T, features):
    x = 0.3 * current(name, T, 1, features)
    ours = spikes_and_gradients(build(name, T, features, backend="fused").double(), x)
    theirs = spikes_and_gradients(other_form(name, T, features=features), x)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
    membranes = [
        form.membrane(x) for form in (build(name, T, features).double(), other_form(name, T, features=features))
    ]
    torch.testing.assert_close(*membranes, rtol=1e-10, atol=1e-10)


@every_fused
def test_one_thread_gives_what_two_give_to_the_last_digit(name):
    T, found = 16, []
    x = current(name, T, 200, 50, dtype=torch.float32)
    drawn = noise(name, x)
    neuron, before = build(name, T, 50), torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(spikes_and_gradients(neuron, x, **drawn))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


@every_fused
def test_channels_last_input_gives_the_same_and_stays_as_it_lies_where_neurons_may_change_places(name):
    x = current(name, 5, 6, 4, 3, 2)
    last = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (5, 6))
    assert not last.is_contiguous()
    drawn = noise(name, x)
    neuron = build(name, 5, 4, backend="fused").double()
    ours, theirs = spikes_and_gradients(neuron, last, **drawn), spikes_and_gradients(neuron, x, **drawn)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    kept = neuron(last, **drawn).stride() == last.stride()
    assert kept != ROWS[name].stochastic  # whose noise goes by the neuron's number


@every_fused
def test_checkpointing_recomputes_the_same_gradients(name):
    neuron, x = build(name, 5).double(), current(name, 5, 3, 4).requires_grad_(True)
    drawn = noise(name, x)
    upstream = torch.rand_like(x)
    (plain,) = torch.autograd.grad(neuron(x, **drawn), x, upstream)
    (again,) = torch.autograd.grad(checkpoint(neuron, x, use_reentrant=False, **drawn), x, upstream)
    assert torch.equal(plain, again)


@every_fused
def test_a_second_derivative_is_refused_not_wrong(name):
    x = current(name, 5, 3, 4).requires_grad_(True)
    neuron = build(name, 5, backend="fused").double()
    (first,) = torch.autograd.grad(neuron(x, **noise(name, x)).sum(), x, create_graph=True)
    with refused("second derivative", "backend: torch"):
        (first.sum() + x.sum()).backward()


def test_the_number_of_threads_stays_what_it_is():
    code = (
        "import torch; from snnrepro.neurons import LIF; torch.set_num_threads(1); "
        "LIF()(torch.rand(8, 1, 40000, requires_grad=True)).sum().backward(); print(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_output_may_be_changed_in_place():
    spikes = LIF()(torch.rand(5, 3, 4, requires_grad=True))
    spikes += 1
    spikes.sum().backward()


@pytest.mark.parametrize("kind", [SPSN, MPEPSN])
def test_noise_computed_in_the_kernel_is_that_of_the_formula_bit_by_bit(kind):
    neuron = kind(num_steps=5)
    x = torch.randn(5, 7, 11)
    drawn = neuron(x)
    assert torch.equal(drawn, neuron(x, noise=uniform(neuron.noise_key, neuron.draw, 0, tuple(x.shape), x.dtype)))
    for step in range(5):
        row = np.empty(77, np.float32)
        uniform_row(int(neuron.noise_key), int(neuron.draw), step, 0, row)
        wanted = uniform(neuron.noise_key, neuron.draw, step, (1, 77), torch.float32)[0]
        np.testing.assert_array_equal(row, wanted.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_sigmoid_of_a_row_is_right_to_a_few_last_places_and_at_the_ends(dtype):
    x = np.concatenate([np.linspace(-80, 80, 40001), [np.inf, -np.inf, np.nan, 1e30, -1e30, 0]]).astype(dtype)
    out = np.empty_like(x)
    sigmoid_row(x, out)
    wanted = torch.sigmoid(torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(out, wanted, rtol=4 * np.finfo(dtype).eps, atol=2 * np.finfo(dtype).tiny)
    assert out[-6] == 1
    assert out[-1] == 0.5


def test_surrogates_have_one_code_each():
    assert CODES.keys() == SHAPES.keys()
    assert sorted(CODES.values()) == list(range(len(SHAPES)))


class Doubled(PSU):
    def _membrane_and_spikes(self, x):
        h, spikes = super()._membrane_and_spikes(x)
        return 2 * h, spikes


class Slower(LIF):
    def _charge(self, x, v, constants):
        return v + 0.1 * x


@pytest.mark.parametrize("kind", [Doubled, Slower])
def test_a_subclass_that_computes_something_else_does_not_run_its_parents_kernel(kind):
    neuron, x = kind(), torch.rand(5, 2, 3)
    assert neuron.not_fused(5, CPU) == "has no fused form"
    assert not torch.equal(neuron.membrane(x), kind.__base__().membrane(x))


def test_a_surrogate_of_ones_own_is_run_by_another_form_and_refused_where_fused_is_asked_for():
    class Mine(torch.nn.Module):
        def forward(self, u, strict=False):
            return (u > 0).to(u.dtype)

    neuron, x = LIF(), torch.rand(5, 2, 3) * 4
    wanted = neuron(x)
    neuron.surrogate = Mine()
    assert neuron.kernel(5, CPU) == "reference"
    assert torch.equal(neuron(x), wanted)
    neuron.backend = "fused"
    with refused("LIF", "surrogate", "backend: auto"):
        neuron(x)


def test_a_forked_process_takes_another_form_and_says_why():
    neuron, x = LIF(), torch.rand(5, 2, 3) * 4
    wanted = neuron(x)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            same = torch.equal(neuron(x), wanted)
            code = 0 if same and "fork" in neuron.not_fused(5, CPU) and neuron.kernel(5, CPU) == "reference" else 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_products_longer_than_a_gpus_kernel_holds_are_left_to_the_library_there():
    long = ops.LONGEST_PRODUCT + 1
    for neuron in (PSN(num_steps=long), IPSU(num_steps=long)):
        assert neuron.not_fused(long, CPU) is None
        assert neuron.kernel(long, CUDA) == "torch"
        assert str(ops.LONGEST_PRODUCT) in neuron.not_fused(long, CUDA)
    assert PSN(num_steps=4).kernel(4, CUDA) == Block(num_features=3).kernel(long, CUDA) == "triton"
