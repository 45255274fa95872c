"""Where an image becomes an input over time: shapes, views, which pixel comes first and when each one spikes."""

import numpy as np
import pytest
import torch

from snnrepro.data.encoding import columns, delta, latency, latency_v1, pixel_order, pixels, rate, repeat, rows
from snnrepro.errors import UserError

ENCODINGS = [
    lambda images: repeat(images, 2),
    columns,
    rows,
    pixels,
    lambda images: pixels(images, torch.arange(5, -1, -1)),
    lambda images: rate(images, 3),
    lambda images: latency(images, 3),
    lambda images: latency_v1(images, 3),
    lambda images: delta(columns(images), 0.1),
]


def counted(*shape: int) -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(1, *shape)


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_repeat_shows_the_same_image_at_every_step(num_steps):
    images = counted(2, 3, 4, 5)
    shown = repeat(images, num_steps)
    assert shown.shape == (num_steps, 2, 3, 4, 5)
    assert all(torch.equal(step, images[0]) for step in shown)


def test_repeat_is_a_view_that_copies_nothing():
    images = counted(2, 3, 4, 5)
    shown = repeat(images, 1000)
    assert shown.data_ptr() == images.data_ptr()
    assert shown.stride() == (0, *images.stride()[1:])
    assert shown.untyped_storage().nbytes() == images.untyped_storage().nbytes()


def test_repeat_sums_the_gradients_of_all_steps():
    images = counted(2, 1, 2, 2).requires_grad_()
    (repeat(images, 3) * torch.tensor([1.0, 10.0, 100.0]).view(3, 1, 1, 1, 1)).sum().backward()
    assert torch.equal(images.grad, torch.full_like(images, 111.0))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 2, 3), (1, 3, 1, 1), (3, 1, 7, 1)])
def test_columns_has_one_step_for_each_column_and_keeps_every_axis(shape):
    batch, channels, height, width = shape
    assert columns(counted(*shape)).shape == (width, batch, channels, height)


def test_step_t_of_columns_is_image_column_t_from_the_left():
    images = counted(2, 3, 4, 5)
    steps = columns(images)
    for t in range(5):
        assert torch.equal(steps[t], images[0, :, :, :, t])


def test_columns_runs_from_left_to_right_and_from_top_to_bottom():
    picture = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert columns(picture[None, None, None])[:, 0, 0].tolist() == [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]


def test_columns_is_contiguous_and_leaves_the_images_as_they_were():
    images = counted(2, 3, 4, 5)
    steps = columns(images)
    assert steps.is_contiguous()
    steps.zero_()
    assert torch.equal(images, counted(2, 3, 4, 5))


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_encodings_keep_dtype_and_device(dtype, device):
    images = counted(2, 1, 2, 3).to(device, dtype)
    assert {encode(images).dtype for encode in ENCODINGS} == {dtype}
    assert {encode(images).device for encode in ENCODINGS} == {images.device}


def test_step_t_of_rows_is_image_row_t_from_the_top():
    images = counted(2, 3, 4, 5)
    steps = rows(images)
    assert (steps.shape, steps.is_contiguous()) == ((4, 2, 3, 5), True)
    for t in range(4):
        assert torch.equal(steps[t], images[0, :, :, t])


def test_pixels_run_row_by_row_with_all_channels_at_once():
    images = counted(2, 3, 4, 5)
    steps = pixels(images)
    assert (steps.shape, steps.is_contiguous()) == ((20, 2, 3), True)
    for t in range(20):
        assert torch.equal(steps[t], images[0, :, :, t // 5, t % 5])


def test_permuted_pixels_show_pixel_order_t_at_step_t():
    images, order = counted(2, 3, 4, 5), pixel_order(20, seed=3)
    steps = pixels(images, order)
    assert (steps.shape, steps.is_contiguous()) == ((20, 2, 3), True)
    for t, pixel in enumerate(order.tolist()):
        assert torch.equal(steps[t], images[0, :, :, pixel // 5, pixel % 5])


def test_pixel_order_is_the_same_on_every_machine():
    assert pixel_order(10, seed=0).tolist() == [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]
    mnist = pixel_order(784, seed=1)
    assert (mnist.dtype, mnist.sort().values.tolist()) == (torch.int64, list(range(784)))
    assert torch.equal(mnist, pixel_order(784, seed=1))
    assert not torch.equal(mnist, pixel_order(784, seed=2))


@pytest.mark.parametrize(
    "order",
    [[0, 1, 2], [0, 1, 2, 2], [1, 2, 3, 4], [0.0, 1.0, 2.0, 3.0], [[0, 1], [2, 3]], [0, 1, 2, 3, 4], [0, 1, 2, -1]],
)
def test_order_that_is_no_permutation_of_the_pixels_is_refused(order):
    with pytest.raises(UserError, match="each of 0 to 3 once") as error:
        pixels(counted(2, 1, 2, 2), torch.tensor(order))
    assert "\n" not in str(error.value)


def test_rate_is_the_chance_of_a_spike_at_every_step():
    intensity = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]).expand(1, 40, 1, 10, 5).contiguous()
    spikes = rate(intensity, 50, torch.Generator().manual_seed(0))
    assert (spikes.shape, set(spikes.unique().tolist())) == ((50, 40, 1, 10, 5), {0.0, 1.0})
    n, hits = 50 * 40 * 10, spikes.sum((0, 1, 2, 3))
    for i, p in enumerate([0.0, 0.1, 0.5, 0.9, 1.0]):
        assert abs(float(hits[i]) - n * p) <= 6 * np.sqrt(n * p * (1 - p))


def test_rate_draws_every_step_pixel_and_image_independently():
    spikes = rate(torch.full((1, 50, 1, 4, 5), 0.5), 40, torch.Generator().manual_seed(0))
    for pair in ((spikes[1:], spikes[:-1]), (spikes[:, 1:], spikes[:, :-1]), (spikes[..., 1:], spikes[..., :-1])):
        n, both = pair[0].numel(), float((pair[0] * pair[1]).sum())
        assert abs(both - n / 4) < 6 * np.sqrt(n * 3 / 16)


def test_rate_draws_from_the_generator_it_is_given_or_from_torchs_own():
    images, state = torch.rand(1, 3, 1, 4, 4), torch.get_rng_state()
    first, again, other = (rate(images, 6, torch.Generator().manual_seed(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    assert torch.equal(rate(images, 6), first)
    assert not torch.equal(torch.get_rng_state(), state)


BYTES = np.arange(256)


def all_bytes(scale: float) -> torch.Tensor:
    return torch.from_numpy((BYTES / scale).astype(np.float32)).view(1, 2, 1, 16, 8)


@pytest.mark.parametrize("num_steps", [1, 2, 8, 64, 100, 300])
def test_latency_of_every_byte_is_one_spike_at_the_step_of_its_formula(num_steps):
    spikes = latency(all_bytes(255), num_steps)
    assert spikes.shape == (num_steps, 2, 1, 16, 8)
    assert torch.equal(spikes.sum(0), torch.ones(2, 1, 16, 8))
    intensity = (BYTES / 255).astype(np.float32).astype(np.float64)
    assert np.array_equal(spikes.argmax(0).flatten().numpy(), np.floor((1 - intensity) * (num_steps - 1)))


def test_latency_shows_white_first_black_last_and_clips_what_lies_outside():
    spikes = latency(torch.tensor([1.0, 0.0, 0.5, 1.01, -0.01]).view(1, 5), 11)
    assert spikes.argmax(0).tolist() == [0, 10, 5, 0, 10]
    assert torch.equal(spikes.sum(0), torch.ones(5))


@pytest.mark.parametrize("num_steps", [1, 17, 100, 5000])
def test_latency_v1_of_every_byte_is_the_formula_in_double_precision(num_steps):
    spikes = latency_v1(all_bytes(1), num_steps).flatten(1)
    for byte in BYTES:
        step = np.inf if byte == 0 else np.round(20_000 * np.log(np.float64(byte) / (np.float64(byte) - 0.2)))
        expected = [int(step)] if step < num_steps else []
        assert torch.nonzero(spikes[:, byte]).flatten().tolist() == expected, byte


def test_latency_v1_at_a_hundred_steps_starts_at_16_and_leaves_dark_bytes_silent():
    spikes = latency_v1(all_bytes(1), 100).flatten(1)
    assert int(spikes[:, 255].argmax()) == 16
    assert int(torch.nonzero(spikes)[:, 0].min()) == 16
    assert torch.nonzero(spikes.sum(0) == 0).flatten().tolist() == list(range(41))
    assert int(spikes.sum(0).max()) == 1


def test_latency_v1_has_no_spike_up_to_a_value_of_a_fifth():
    values = torch.tensor([[0.0, 0.1, 0.19, 0.2, 0.3]], dtype=torch.float64)
    assert latency_v1(values, 100_000).sum(0).tolist() == [0, 0, 0, 0, 1]


def test_delta_fires_where_a_value_moves_by_the_threshold_from_the_last_one_that_fired():
    values = [0.0, 0.25, 0.5, 0.75, 1.0, 0.75, 0.25, 0.25, -1.0]
    spikes = delta(torch.tensor(values).view(-1, 1, 1), 0.5)
    assert spikes.shape == (9, 1, 2)
    assert spikes[:, 0, 0].tolist() == [0, 0, 1, 0, 1, 0, 0, 0, 0]  # references 0, then 0.5, then 1
    assert spikes[:, 0, 1].tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 1]


def test_delta_moves_its_reference_to_the_value_itself_and_spikes_once_for_any_jump():
    spikes = delta(torch.tensor([0.0, 1.75, 2.0, 2.5, 3.0]).view(-1, 1, 1), 0.5)
    assert spikes[:, 0, 0].tolist() == [0, 1, 0, 1, 1]  # 1.75, not 1.5: 2.0 is too near


def test_delta_starts_from_the_first_value_without_a_spike():
    assert delta(torch.full((6, 2, 3), 9.0), 0.5).sum() == 0
    assert delta(torch.rand(1, 2, 3, 4, 5), 0.5).tolist() == torch.zeros(1, 2, 6, 4, 5).tolist()


@pytest.mark.parametrize("shape", [(12, 2, 3), (12, 2, 3, 4), (12, 2, 3, 4, 5)])
def test_delta_treats_every_element_by_itself_and_keeps_rises_before_falls(shape):
    generator = torch.Generator().manual_seed(0)
    sequence = torch.randint(0, 8, shape, generator=generator).float()
    spikes = delta(sequence, 3.0)
    assert spikes.shape == (12, 2, 6, *shape[3:])
    rises, falls = spikes[:, :, :3], spikes[:, :, 3:]
    assert float((rises * falls).sum()) == 0
    for index in np.ndindex(shape[1:]):
        reference = float(sequence[(0, *index)])
        for t in range(12):
            change = float(sequence[(t, *index)]) - reference
            assert (float(rises[(t, *index)]), float(falls[(t, *index)])) == (change >= 3, change <= -3)
            reference += change if abs(change) >= 3 else 0
    assert torch.equal(delta(-sequence, 3.0), torch.cat([falls, rises], 2))


def test_encodings_leave_their_input_as_it_was():
    images = counted(2, 1, 2, 3) - 3
    before = images.clone()
    for encode in ENCODINGS:
        encode(images)
        assert torch.equal(images, before)


@pytest.mark.parametrize("encode", [repeat, rate, latency, latency_v1])
@pytest.mark.parametrize("num_steps", [0, -1])
def test_fewer_than_one_step_is_refused(encode, num_steps):
    with pytest.raises(UserError, match="num_steps must be above 0"):
        encode(counted(2, 1, 2, 3), num_steps)


@pytest.mark.parametrize("threshold", [0.0, -0.5, float("nan")])
def test_threshold_that_is_not_above_zero_is_refused(threshold):
    with pytest.raises(UserError, match="threshold must be above 0"):
        delta(torch.rand(3, 2, 1), threshold)
