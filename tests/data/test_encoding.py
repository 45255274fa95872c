"""Where an image becomes an input over time: shapes, views, and which column comes first."""

import pytest
import torch

from snnrepro.data.encoding import columns, repeat


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_encodings_keep_the_dtype(dtype):
    images = counted(2, 1, 2, 3).to(dtype)
    assert (repeat(images, 2).dtype, columns(images).dtype) == (dtype, dtype)
