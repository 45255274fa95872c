"""Augmentation: the distribution of its draws, their independence, their seeds, and labels that mix as images do."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from snnrepro.data.augment import Augmentation
from snnrepro.data.images import ImageDataModule

RECIPE = {"flip": 0.5, "policy": "trivial_augment_wide", "erasing": 0.1, "mixup_alpha": 0.2, "cutmix_alpha": 1.0}


def picture(channels: int = 3, size: int = 16) -> Tensor:
    """One picture without any symmetry."""
    return torch.randint(0, 256, (channels, size, size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def copies(n: int, image: Tensor) -> Tensor:
    return image.expand(n, *image.shape).clone()


def within_six_sigma(hits: int, n: int, p: float) -> bool:
    return abs(hits - n * p) <= 6 * np.sqrt(n * p * (1 - p))


def mixed(augmentation: Augmentation, images: Tensor, labels: Tensor, num_classes: int, seed: int):
    torch.manual_seed(seed)
    return augmentation.on_device(images, labels, num_classes)


@pytest.mark.parametrize("p", [0.25, 0.5])
def test_each_image_flips_with_its_probability_whatever_its_neighbours_do(p):
    image = picture(size=4)
    torch.manual_seed(0)
    out = Augmentation(flip=p).on_load(copies(4000, image))
    flipped = (out == image.flip(-1)).flatten(1).all(1)
    assert torch.equal(~flipped, (out == image).flatten(1).all(1))  # nothing but the two
    assert within_six_sigma(int(flipped.sum()), 4000, p)
    assert within_six_sigma(int((flipped[::2] & flipped[1::2]).sum()), 2000, p * p)


def test_flip_with_probability_one_mirrors_left_and_right_only():
    images = torch.stack([picture(), picture().flip(0)])
    assert torch.equal(Augmentation(flip=1.0).on_load(images), images.flip(3))


def test_policy_gives_copies_of_one_image_many_different_outcomes():
    image = picture()
    torch.manual_seed(0)
    out = Augmentation(policy="trivial_augment_wide").on_load(copies(300, image))
    assert (out.shape, out.dtype) == ((300, 3, 16, 16), torch.uint8)
    assert len({bytes(x.numpy()) for x in out}) > 150
    unchanged = int((out == image).flatten(1).all(1).sum())
    assert 300 / 14 / 2 < unchanged < 100  # the identity is one of 14; some others do nothing at strength 0


def test_policy_turns_images_bilinearly():
    square = torch.zeros(1, 32, 32, dtype=torch.uint8)
    square[:, 8:24, 8:24] = 255
    torch.manual_seed(0)
    out = Augmentation(policy="trivial_augment_wide").on_load(copies(150, square))
    # Nearest-neighbour sampling and the colour operations make two greys, sharpening at most seven.
    assert max(len(x.unique()) for x in out) > 16


@pytest.mark.parametrize("channels", [1, 3])
def test_on_load_keeps_uint8_and_shape_and_leaves_its_input_alone(channels):
    images = torch.stack([picture(channels), picture(channels).flip(-2)])
    before = images.clone()
    torch.manual_seed(0)
    out = Augmentation(**RECIPE).on_load(images)
    assert (out.dtype, out.shape) == (torch.uint8, images.shape)
    assert torch.equal(images, before)


def test_each_image_is_erased_with_its_probability_by_a_rectangle_of_its_own():
    images = torch.ones(2000, 2, 16, 16)
    torch.manual_seed(0)
    out, _ = Augmentation(erasing=0.1).on_device(images, torch.zeros(2000, dtype=torch.long), 10)
    assert images.min() == 1  # the caller's batch is left alone
    assert set(out.unique().tolist()) == {0.0, 1.0}
    hit = out.flatten(1).min(1).values == 0
    assert within_six_sigma(int(hit.sum()), 2000, 0.1)
    masks = out[hit] == 0
    assert torch.equal(masks[:, 0], masks[:, 1])  # all channels alike
    rows, cols = masks[:, 0].any(2), masks[:, 0].any(1)
    assert torch.equal(masks[:, 0], rows[:, :, None] & cols[:, None, :])
    assert all(len(torch.unique_consecutive(side.int())) <= 3 for side in [*rows, *cols])
    assert len({bytes(mask.numpy()) for mask in masks}) > 0.8 * int(hit.sum())
    area = masks[:, 0].flatten(1).float().mean(1)
    assert 0.01 < area.min() < 0.06  # torchvision's 2 % to 33 % of the image, in whole pixels
    assert 0.25 < area.max() < 0.36


def test_same_seed_gives_the_same_pixels_and_another_seed_others():
    images, labels = torch.stack([picture(), picture().flip(-1)] * 8), torch.arange(16) % 10
    runs = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        loaded = Augmentation(**RECIPE).on_load(images)
        runs.append((loaded, *Augmentation(**RECIPE).on_device(loaded.float(), labels, 10)))
    assert all(torch.equal(first, again) for first, again in zip(runs[0], runs[1], strict=True))
    assert not any(torch.equal(first, other) for first, other in zip(runs[0], runs[2], strict=True))


def test_augmentation_is_off_by_default_and_draws_nothing():
    images, labels = torch.stack([picture(), picture().flip(-1)]), torch.tensor([3, 4])
    state = torch.get_rng_state()
    augmentation = Augmentation()
    assert torch.equal(augmentation.on_load(images), images)
    x, y = augmentation.on_device(images.float(), labels, 10)
    assert torch.equal(x, images.float())
    assert torch.equal(y, labels)
    assert torch.equal(torch.get_rng_state(), state)
    assert (augmentation.describe(), augmentation.per_image) == ("none", False)


def test_description_names_what_is_on():
    assert Augmentation(**RECIPE).describe() == "flip + trivial_augment_wide + erasing + mixup + cutmix"
    assert Augmentation(**RECIPE).per_image
    assert Augmentation(flip=0.5, cutmix_alpha=1.0).describe() == "flip + cutmix"


def flat_images(labels: Tensor, size: int = 16) -> Tensor:
    """Every pixel is the number of the image's class, so that a mean pixel tells how the classes were mixed."""
    return labels.float().view(-1, 1, 1, 1).expand(-1, 1, size, size).clone()


@pytest.mark.parametrize(
    "alphas", [{"mixup_alpha": 0.2}, {"cutmix_alpha": 1.0}, {"mixup_alpha": 1.0, "cutmix_alpha": 1.0}]
)
def test_labels_are_mixed_with_the_same_weights_as_the_images(alphas):
    labels = torch.tensor([6, 1, 9, 0, 3, 8])
    images = flat_images(labels)
    seen = set()
    for seed in range(40):
        x, y = mixed(Augmentation(**alphas), images, labels, 10, seed)
        assert (x.shape, y.shape, y.dtype) == (images.shape, (6, 10), torch.float32)
        torch.testing.assert_close(y.sum(1), torch.ones(6))
        assert y.min() >= 0
        assert int((y > 0).sum(1).max()) <= 2
        torch.testing.assert_close(x.mean((1, 2, 3)), y @ torch.arange(10.0), atol=1e-4, rtol=0)
        seen.add(round(float(y[0, 6]), 3))
    assert len(seen) > 15
    assert labels.tolist() == [6, 1, 9, 0, 3, 8]
    assert torch.equal(images, flat_images(labels))


def test_mixup_blends_whole_images_and_cutmix_pastes_a_rectangle():
    labels = torch.tensor([6, 1, 9, 0])
    for seed in range(20):
        x, _ = mixed(Augmentation(mixup_alpha=1.0), flat_images(labels), labels, 10, seed)
        assert torch.equal(x, x[..., :1, :1].expand_as(x))
        x, _ = mixed(Augmentation(cutmix_alpha=1.0), flat_images(labels), labels, 10, seed)
        assert set(x.unique().tolist()) <= {6.0, 1.0, 9.0, 0.0}
        pasted = (x != flat_images(labels))[:, 0]
        assert torch.equal(pasted, (pasted.any(2)[:, :, None] & pasted.any(1)[:, None, :]))


def test_mixup_and_cutmix_are_each_chosen_for_half_of_the_batches():
    labels = torch.arange(8)
    augmentation, batches = Augmentation(mixup_alpha=1.0, cutmix_alpha=1.0), 600
    blended = 0
    torch.manual_seed(0)
    for _ in range(batches):
        x, _ = augmentation.on_device(flat_images(labels), labels, 8)
        blended += bool((x != x.round()).any())
    assert within_six_sigma(blended, batches, 0.5)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_weight_of_mixup_is_beta_distributed_with_its_alpha(alpha):
    labels, augmentation = torch.arange(4), Augmentation(mixup_alpha=alpha)
    torch.manual_seed(0)
    own = np.array([augmentation.on_device(flat_images(labels, 1), labels, 4)[1][0, 0] for _ in range(800)])
    assert abs(own.mean() - 0.5) < 6 * own.std() / np.sqrt(800)
    assert abs(own.var() - 1 / (4 * (2 * alpha + 1))) < 0.015


def test_weight_of_cutmix_is_that_of_a_uniform_box_cut_at_the_border():
    labels, augmentation = torch.arange(4), Augmentation(cutmix_alpha=1.0)
    torch.manual_seed(0)
    own = np.array([augmentation.on_device(flat_images(labels, 64), labels, 4)[1][0, 0] for _ in range(800)])
    # A box of side s = sqrt(u) around a uniform centre covers (s - s^2 / 4)^2 on average: 0.3208 over uniform u.
    assert abs(own.mean() - (1 - 0.3208)) < 0.04


def digits(augmentation: Augmentation, seed: int = 0, **options) -> ImageDataModule:
    settings = {"source": "digits", "image_shape": [1, 8, 8], "num_classes": 10, "num_steps": 8, "pixel_max": 16.0}
    return ImageDataModule("unused", "unused", "validated", seed, augmentation, **settings | options)


def test_augmentation_is_the_same_at_every_step():
    augmentation = Augmentation(**{**RECIPE, "erasing": 0.9})
    module, plain = digits(augmentation), digits(Augmentation())
    x = torch.randint(0, 17, (1, 12, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    y = torch.arange(12) % 10
    torch.manual_seed(0)
    shown, mixed_labels = module.prepare(x, y, training=True)
    assert mixed_labels.shape == (12, 10)
    assert not torch.equal(shown[0], plain.prepare(x, y, training=True)[0][0])
    assert all(torch.equal(step, shown[0]) for step in shown)
    torch.manual_seed(0)
    by_column, _ = digits(augmentation, encoding="columns").prepare(x, y, training=True)
    assert torch.equal(by_column, shown[0].permute(3, 0, 1, 2))


def test_erased_pixels_are_zero_after_normalisation():
    module = digits(Augmentation(erasing=1.0), mean=[0.5], std=[0.25])
    x = torch.full((1, 5, 1, 8, 8), 16, dtype=torch.uint8)
    torch.manual_seed(0)
    shown, _ = module.prepare(x, torch.arange(5), training=True)
    assert set(shown.unique().tolist()) == {0.0, 2.0}


def test_nothing_is_augmented_where_the_batch_is_not_for_training():
    module = digits(Augmentation(**{**RECIPE, "erasing": 1.0}))
    x = torch.full((1, 5, 1, 8, 8), 16, dtype=torch.uint8)
    state = torch.get_rng_state()
    shown, y = module.prepare(x, torch.arange(5), training=False)
    assert torch.equal(shown, torch.ones(8, 5, 1, 8, 8))
    assert torch.equal(y, torch.arange(5))
    assert torch.equal(torch.get_rng_state(), state)


def test_draws_on_the_device_depend_on_the_seed_and_the_step_of_the_run_only():
    x, y = torch.randint(0, 17, (1, 6, 1, 8, 8), dtype=torch.uint8), torch.arange(6)

    def at(seed: int, step: int, before: int) -> tuple[Tensor, Tensor]:
        module = digits(Augmentation(mixup_alpha=1.0), seed)
        module.trainer = SimpleNamespace(training=True, global_step=step)
        torch.manual_seed(before)
        return module.on_after_batch_transfer(module.on_before_batch_transfer((x, y), 0), 0)

    first = at(0, 3, before=1)
    assert all(torch.equal(a, b) for a, b in zip(first, at(0, 3, before=2), strict=True))
    assert not torch.equal(first[1], at(0, 4, before=1)[1])
    assert not torch.equal(first[1], at(1, 3, before=1)[1])


def test_transfer_of_a_batch_draws_and_seeds_nothing_outside_training():
    module, batch = digits(Augmentation(mixup_alpha=1.0)), (torch.zeros(1, 2, 1, 8, 8).byte(), torch.arange(2))
    module.trainer = SimpleNamespace(training=False, global_step=3)
    state = torch.get_rng_state()
    module.on_after_batch_transfer(module.on_before_batch_transfer(batch, 0), 0)
    assert torch.equal(torch.get_rng_state(), state)
