"""Noise as a pure function of (key, draw, step, neuron), and the two neurons that draw: SPSN and MPE-PSN.

Statistical bounds are 5 standard deviations of the mean over the numbers at hand; keys are fixed, so none is left to
chance.
"""

import copy
import itertools
import math
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snnrepro.errors import UserError
from snnrepro.neurons import LIF, MPEPSN, SPSN, hold_draws
from snnrepro.neurons.noise import uniform
from snnrepro.neurons.psu import psu_kernels

STEPS, NEURONS = 64, 4096
KEYS = [0, 1, 2**61 + 12345]
DRAWING = {
    "spsn": SPSN,
    "mpe_psn": MPEPSN,
    "mpe_psn current": lambda *sizes: MPEPSN(*sizes, variant="current"),
}
every_drawing = pytest.mark.parametrize("make", DRAWING.values(), ids=DRAWING)


def numbers(key=1, draw=0, first=0, shape=(STEPS, NEURONS), dtype=torch.float64):
    return uniform(torch.tensor(key), torch.tensor(draw), first, shape, dtype)


def current(T: int, *rest: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(T, *rest, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def built(make, T: int = 6, seed: int = 1):
    torch.manual_seed(seed)
    return make(T, 3).double()


def splitmix64(z: int) -> int:
    """SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014), in integers without an end."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def lowbias32(z: int) -> int:
    z = ((z ^ (z >> 16)) * 0x7FEB352D) % 2**32
    z = ((z ^ (z >> 15)) * 0x846CA68B) % 2**32
    return z ^ (z >> 16)


@pytest.mark.parametrize("key", [0, 1, 2**62 - 1, -1, -(2**63)])
def test_a_saved_key_and_draw_give_these_hashes_for_ever(key):
    for draw, first in ((0, 0), (1, 7), (2**40, 2**33)):
        ours = numbers(key, draw, first, (3, 2, 5))
        for t, neuron in itertools.product(range(3), range(10)):
            high, low = divmod(splitmix64(splitmix64(key % 2**64 ^ draw << 20) ^ (first + t)), 2**32)
            expected = lowbias32((lowbias32(low ^ neuron) + high) % 2**32) >> 8
            assert ours[t].flatten()[neuron].item() == expected * 2**-24


@pytest.mark.parametrize("key", KEYS)
def test_numbers_are_multiples_of_2_to_the_minus_24_from_0_to_below_1_in_both_precisions(key):
    u = numbers(key)
    assert u.min() >= 0
    assert u.max() <= 1 - 2**-24
    assert (u * 2**24 == (u * 2**24).round()).all()
    assert ((u * 2**24) % 2 == 1).any()  # and of no coarser grid
    assert numbers(key, dtype=torch.float32).dtype == torch.float32
    assert torch.equal(numbers(key, dtype=torch.float32).double(), u)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("draw", [0, 1, 1000])
def test_numbers_are_uniform_in_mean_variance_bits_and_bins(key, draw):
    u = numbers(key, draw)
    n = u.numel()
    assert abs(u.mean() - 1 / 2) < 5 * math.sqrt(1 / 12 / n)
    assert abs(((u - 1 / 2) ** 2).mean() - 1 / 12) < 5 * math.sqrt((1 / 80 - 1 / 144) / n)
    whole = (u * 2**24).long().flatten()
    for bit in range(24):
        assert abs((whole >> bit & 1).double().mean() - 1 / 2) < 5 * math.sqrt(1 / 4 / n)
    counts = torch.bincount(whole >> 16, minlength=256).double()
    chi_square = ((counts - n / 256) ** 2 / (n / 256)).sum()
    assert abs(chi_square - 255) < 5 * math.sqrt(2 * 255)
    steps, neurons = u.mean(1), u.mean(0)  # no step and no neuron that stands out
    assert (steps - 1 / 2).abs().max() < 5 * math.sqrt(1 / 12 / NEURONS)
    assert (neurons - 1 / 2).abs().max() < 5 * math.sqrt(1 / 12 / STEPS)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item())


@pytest.mark.parametrize("key", KEYS)
def test_steps_neighbours_draws_and_keys_are_independent(key):
    u = numbers(key)
    pairs = {f"{lag} steps apart": (u[lag:], u[:-lag]) for lag in (1, 2, 32)}
    pairs |= {f"{lag} neurons apart": (u[:, lag:], u[:, :-lag]) for lag in (1, 2, 64, 2048)}
    pairs |= {f"draws 0 and {d}": (u, numbers(key, d)) for d in (1, 2, 3, 2**20)}
    pairs |= {f"keys that differ by {d}": (u, numbers(key ^ d)) for d in (1, 2, 2**30, 2**61)}
    pairs |= {
        "step and draw exchanged": (u[1], numbers(key, 1)[0]),
        "step and neuron exchanged": (u[:, :64], u[:, :64].T),
    }
    off = ~torch.eye(STEPS, dtype=torch.bool)
    for name, (a, b) in pairs.items():
        if name == "step and neuron exchanged":
            a, b = a[off], b[off]
        assert correlation(a, b) < 5 / math.sqrt(a.numel() / (2 if "exchanged" in name else 1)), name
        assert not torch.equal(a, b)
        # Together below 1/4 as often as independent numbers are: correlation alone sees lines only.
        both = ((a < 1 / 4) & (b < 1 / 4)).double().mean()
        assert abs(both - 1 / 16) < 5 * math.sqrt(15 / 256 / a.numel() * (2 if "exchanged" in name else 1)), name


def test_a_number_depends_on_its_own_step_and_neuron_only_not_on_what_is_asked_with_it():
    whole = numbers(shape=(12, 4, 5))
    assert torch.equal(numbers(first=3, shape=(2, 4, 5)), whole[3:5])
    assert torch.equal(numbers(shape=(7, 2, 5)), whole[:7, :2])
    assert torch.equal(numbers(shape=(12, 20)), whole.flatten(1))
    assert numbers(shape=(12, 0, 5)).shape == (12, 0, 5)


on_inductor = pytest.param(
    "inductor",
    marks=[
        pytest.mark.slow,  # 25 s, of which 20 go to finding out which vector instructions there are
        pytest.mark.skipif(shutil.which("g++") is None, reason="inductor compiles with g++, which is not here"),
        pytest.mark.filterwarnings("ignore:.*torch.jit.script_method. is deprecated:DeprecationWarning"),  # its own use
    ],
)


@pytest.mark.parametrize("backend", ["aot_eager", on_inductor])
def test_compiled_numbers_equal_eager_ones_bit_for_bit(backend):
    torch.compiler.reset()
    compiled = torch.compile(uniform, fullgraph=True, backend=backend)
    for key, draw in ((1, 0), (2**62 - 1, 3)):
        arguments = (torch.tensor(key), torch.tensor(draw), 3, (5, 70, 1000), torch.float32)
        assert torch.equal(compiled(*arguments), uniform(*arguments))


@every_drawing
def test_a_forward_neither_touches_torchs_generator_nor_listens_to_it(make):
    neuron, x = built(make), current(6, 50, 3)
    neuron.hold_draw(4)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    spikes = neuron(x)
    neuron.membrane(x)
    neuron.stream(x)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(neuron(x), spikes)


@every_drawing
def test_a_layers_key_follows_torchs_seed_and_no_two_layers_share_one(make):
    x = current(6, 50, 3)
    torch.manual_seed(3)
    first, second = make(6, 3).double(), make(6, 3).double()
    again, other = built(make, seed=3), built(make, seed=4)
    assert first.noise_key == again.noise_key
    assert torch.equal(first(x), again(x))
    assert len({layer.noise_key.item() for layer in (first, second, other)}) == 3
    assert not torch.equal(first(x), second(x))


@every_drawing
def test_every_forward_begins_a_draw_and_a_held_one_repeats(make):
    neuron, x = built(make), current(6, 50, 3)
    assert neuron.draw == 0
    one, two = neuron(x), neuron(x)
    assert neuron.draw == 2
    assert not torch.equal(one, two)
    neuron.hold_draw(1)
    assert torch.equal(neuron(x), one)
    assert torch.equal(neuron(x), one)
    assert torch.equal(neuron.stream(x)[0], one)
    assert neuron.draw == 1
    neuron.hold_draw(None)
    assert torch.equal(neuron(x), two)
    assert neuron.draw == 2


def test_hold_draws_holds_and_frees_every_layer_of_a_network():
    torch.manual_seed(0)
    network = torch.nn.Sequential(SPSN(), torch.nn.Sequential(torch.nn.Linear(3, 3), LIF()), MPEPSN(6))
    network[1][0].weight.data.mul_(5)
    x = current(6, 50, 3).float()
    free = [network(x) for _ in range(3)]
    assert not torch.equal(free[0], free[1])
    hold_draws(network, 2)
    assert torch.equal(network(x), free[1])
    assert torch.equal(network(x), free[1])
    assert network[0].draw == network[2].draw == 2
    hold_draws(network, None)
    assert torch.equal(network(x), free[2])
    assert network[0].draw == network[2].draw == 3


@every_drawing
def test_membrane_and_auxiliary_loss_belong_to_the_last_draw(make):
    neuron, x = built(make), current(6, 50, 3)
    found = []
    for draw in (1, 2):
        spikes = neuron(x)
        noise = numbers(neuron.noise_key.item(), draw, shape=tuple(x.shape))
        assert torch.equal(spikes, copy.deepcopy(neuron)(x, noise=noise))
        if isinstance(neuron, MPEPSN):
            loss, h = neuron.auxiliary_loss(), neuron.membrane(x)
            assert torch.equal(h, neuron.membrane(x, noise=noise))
            assert torch.equal(spikes, (h > 1).double())
            twin = copy.deepcopy(neuron)
            twin(x, noise=noise)
            assert torch.equal(twin.auxiliary_loss(), loss)
            found.append((spikes, h, loss))
        else:
            assert torch.equal(spikes, (noise < torch.sigmoid(neuron.membrane(x))).double())
            found.append((spikes,))
        assert neuron.draw == draw  # neither membrane nor given noise begins another
    assert not any(torch.equal(first, second) for first, second in zip(*found, strict=True))


@every_drawing
@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(cuts=st.sets(st.integers(1, 15)), draws_before=st.integers(0, 2))
def test_a_fresh_stream_begins_a_draw_and_any_split_gives_its_forward(make, cuts, draws_before):
    neuron, x = built(make, T=16), current(16, 4, 3)
    for _ in range(draws_before):
        neuron(x)
    expected = copy.deepcopy(neuron)(x)
    state, parts = None, []
    for start, stop in itertools.pairwise([0, *sorted(cuts), 16]):
        spikes, state = neuron.stream(x[start:stop], state)
        parts.append(spikes)
    assert torch.equal(torch.cat(parts), expected)
    assert neuron.draw == draws_before + 1


@every_drawing
def test_a_stream_keeps_its_draw_whatever_runs_between_its_chunks(make):
    neuron, x = built(make), current(6, 50, 3)
    expected = copy.deepcopy(neuron)(x)
    head, state = neuron.stream(x[:2])
    neuron(x)
    neuron.stream(x, {})  # an empty state is a fresh start
    assert neuron.draw == 3
    tails = [neuron.stream(x[2:], state)[0] for _ in range(2)]
    assert all(torch.equal(torch.cat([head, tail]), expected) for tail in tails)
    assert neuron.draw == 3


@every_drawing
def test_given_noise_replaces_the_draw_and_begins_none_also_chunk_by_chunk(make):
    neuron, x = built(make), current(6, 50, 3)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    spikes = neuron(x, noise=noise)
    assert not torch.equal(spikes, neuron(x, noise=1 - noise))
    head, state = neuron.stream(x[:2], noise=noise[:2])
    tail, _ = neuron.stream(x[2:], state, noise=noise[2:])
    assert torch.equal(torch.cat([head, tail]), spikes)
    assert neuron.draw == 0


@every_drawing
def test_noise_of_another_shape_is_a_user_error_of_one_line_naming_both(make):
    neuron, x = built(make), current(6, 4, 3)
    for call in (neuron, neuron.membrane, neuron.stream):
        for shape in ((5, 4, 3), (6, 4), (6, 1, 3)):
            with pytest.raises(UserError, match=r"^noise is \([^\n]*\(6, 4, 3\)[^\n]*\Z"):
                call(x, noise=torch.rand(shape))
    assert neuron.draw == 0


@every_drawing
def test_state_dict_and_copy_keep_key_and_draw_and_go_on_with_the_next(make):
    neuron, x = built(make), current(6, 50, 3)
    neuron(x)
    loaded, copied = built(make, seed=2), copy.deepcopy(neuron)
    assert not torch.equal(built(make, seed=2)(x), built(make)(x))
    loaded.load_state_dict(neuron.state_dict())
    expected = neuron(x)
    for other in (loaded, copied):
        assert other.draw == 1
        assert torch.equal(other(x), expected)
        assert other.draw == 2
    held = built(make)
    held.hold_draw(2)
    twin = copy.deepcopy(held)
    assert torch.equal(twin(x), expected)
    assert torch.equal(twin(x), expected)


def test_spsn_fires_with_the_sigmoid_of_its_membrane():
    neuron, x, draws, columns = built(SPSN), current(6, 1, 1), 20, 2000
    p = torch.sigmoid(neuron.membrane(x))
    wide = x.expand(6, 1, columns)
    rate = torch.stack([neuron(wide) for _ in range(draws)]).mean(0).mean(2, keepdim=True)
    assert ((rate - p).abs() < 5 * (p * (1 - p) / (draws * columns)).sqrt()).all()
    assert 0.1 < p.min() < p.max() < 0.95
    assert p.max() - p.min() > 0.3


def test_spsn_never_fires_at_probability_0_and_always_at_1():
    neuron = SPSN(tau=1.0)
    x = torch.tensor([-2000.0, 2000.0]).expand(1, 2)
    for u in (0.0, 0.5, 1 - 2**-24):
        assert neuron(x, noise=torch.full((1, 2), u)).tolist() == [[0, 1]]
    assert neuron(torch.zeros(1, 2), noise=torch.tensor([[0.5, 0.5 - 2**-24]])).tolist() == [[0, 1]]  # u < p


@pytest.mark.parametrize("gradient", ["none", "straight_through", "sigmoid"])
@pytest.mark.parametrize("backend", ["torch", "dense", "reference"])
@pytest.mark.parametrize("tau", [1.0, 2.0, 3.5])
def test_spsn_passes_back_what_its_gradient_says_and_then_through_the_kernel(gradient, backend, tau):
    torch.manual_seed(1)
    neuron, x = SPSN(tau=tau, gradient=gradient, backend=backend), current(6, 4, 3).requires_grad_(True)
    A = psu_kernels(6, tau, x)[0]
    p = torch.sigmoid(torch.einsum("ij,jbf->ibf", A, x.detach()))
    upstream = current(6, 4, 3, seed=9)
    (found,) = torch.autograd.grad(neuron(x), x, upstream)
    if gradient == "none":
        assert (found == 0).all()
        return
    passed = upstream if gradient == "straight_through" else upstream * p * (1 - p)
    torch.testing.assert_close(found, torch.einsum("ij,ibf->jbf", A, passed), rtol=1e-12, atol=1e-13)


def test_spsn_default_gradient_is_that_of_the_probability():
    assert SPSN().gradient == "sigmoid"


@pytest.mark.parametrize("variant", ["previous", "current"])
def test_mpe_psn_takes_a_step_to_have_fired_with_the_sigmoid_of_its_input(variant):
    draws, columns = 20, 2000
    neuron, x = built(lambda *sizes: MPEPSN(*sizes, variant=variant)), current(6, 1, 1)
    wide, fired = x.expand(6, 1, columns), []
    for _ in range(draws):
        neuron(wide)
        estimate = (neuron.membrane(wide) - wide).detach()  # beta vhat, one step late where previous
        fired.append(((estimate[1:] == 0).double()).mean(2))
        assert (estimate[0] == 0).all()
    p = torch.sigmoid(x[:-1] if variant == "previous" else x[1:])[:, :, 0]
    rate = torch.stack(fired).mean(0)
    assert ((rate - p).abs() < 5 * (p * (1 - p) / (draws * columns)).sqrt()).all()
    assert p.max() - p.min() > 0.3
