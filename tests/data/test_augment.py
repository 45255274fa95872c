"""Augmentation: the distribution of its draws, their independence, their seeds, and labels that mix as images do."""

import importlib
import inspect
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from snnrepro.data.augment import Augmentation
from snnrepro.data.images import ImageDataModule
from snnrepro.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs" / "augmentation"
RECIPE = {"flip": 0.5, "policy": "trivial_augment_wide", "erasing": 0.1, "mixup_alpha": 0.2, "cutmix_alpha": 1.0}
NOISE = {"noise": 0.9, "noise_std": 0.05}
ON_LOAD = {"perspective": 0.5, "perspective_scale": 0.4, "crop_padding": 3, **NOISE}
RAND = {"policy": "rand_augment", "rand_magnitude": 20.0}
EVERYTHING = {**RECIPE, **ON_LOAD, **RAND, "rand_magnitude_std": 1.5, "cutout": 4}


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


@pytest.mark.parametrize("recipe", [RECIPE, EVERYTHING, {**ON_LOAD, "policy": "auto_augment"}, ON_LOAD, NOISE])
@pytest.mark.parametrize("channels", [1, 3])
def test_on_load_keeps_uint8_and_shape_and_leaves_its_input_alone(channels, recipe):
    images = torch.stack([picture(channels), picture(channels).flip(-2)])
    before = images.clone()
    torch.manual_seed(0)
    out = Augmentation(**recipe).on_load(images)
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


@pytest.mark.parametrize("recipe", [RECIPE, EVERYTHING])
def test_same_seed_gives_the_same_pixels_and_another_seed_others(recipe):
    images, labels = torch.stack([picture(), picture().flip(-1)] * 8), torch.arange(16) % 10
    runs = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        loaded = Augmentation(**recipe).on_load(images)
        runs.append((loaded, *Augmentation(**recipe).on_device(loaded.float(), labels, 10)))
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


def windows(image: Tensor, padding: int) -> dict[bytes, tuple[int, int]]:
    """Every crop of the padded image, with its place."""
    padded = np.pad(image.numpy(), [(0, 0), (padding, padding), (padding, padding)])
    size = image.shape[-1]
    places = [(top, left) for top in range(2 * padding + 1) for left in range(2 * padding + 1)]
    return {padded[:, top : top + size, left : left + size].tobytes(): (top, left) for top, left in places}


def evenly(counts: np.ndarray) -> bool:
    """Whether the cells of a table hold as many hits as chance would give, by six sigma of the chi-square."""
    expected, freedom = counts.sum() / counts.size, counts.size - 1
    return abs(((counts - expected) ** 2 / expected).sum() - freedom) < 6 * np.sqrt(2 * freedom)


def test_each_image_is_cropped_at_a_place_of_its_own_and_every_place_is_as_likely():
    image, table = picture(size=6), np.zeros((5, 5))
    torch.manual_seed(0)
    out = Augmentation(crop_padding=2).on_load(copies(5000, image))
    found = windows(image, 2)
    places = np.array([found[bytes(x.numpy())] for x in out])
    np.add.at(table, tuple(places.T), 1)
    assert evenly(table)
    neighbours = np.zeros((25, 25))
    index = places @ [5, 1]
    np.add.at(neighbours, (index[::2], index[1::2]), 1)
    assert evenly(neighbours)


@pytest.mark.parametrize("side", [3, 4, 40])
def test_cutout_is_one_square_around_a_uniform_centre_cut_at_the_borders(side):
    images, size, n = torch.ones(6400, 2, 8, 8), 8, 6400
    torch.manual_seed(0)
    out, _ = Augmentation(cutout=side).on_device(images, torch.zeros(n, dtype=torch.long), 10)
    assert images.min() == 1  # the caller's batch is left alone
    assert set(out.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(out[:, 0], out[:, 1])  # all channels alike
    hole = (out[:, 0] == 0).numpy()
    spans = [range(max(0, c - side // 2), min(size, c - side // 2 + side)) for c in range(size)]
    if side == 40:
        assert hole.all()
        return
    table = np.zeros((size, size))
    bits = {sum(1 << at for at in span): c for c, span in enumerate(spans)}
    assert len(bits) == size
    for mask in hole:
        down, across = mask.any(1), mask.any(0)
        assert np.array_equal(mask, down[:, None] & across)
        table[bits[int(down @ (1 << np.arange(size)))], bits[int(across @ (1 << np.arange(size)))]] += 1
    assert evenly(table)


def test_cutout_comes_before_mixing():
    labels = torch.arange(8)
    torch.manual_seed(0)
    x, _ = Augmentation(cutout=4, mixup_alpha=1.0).on_device(torch.ones(8, 1, 8, 8), labels, 8)
    assert ((x > 0.01) & (x < 0.99)).any()


def test_each_image_changes_perspective_with_its_probability():
    image = picture(channels=1, size=28)
    torch.manual_seed(0)
    out = Augmentation(perspective=0.7, perspective_scale=0.4).on_load(copies(1000, image))
    changed = ~(out == image).flatten(1).all(1)
    assert within_six_sigma(int(changed.sum()), 1000, 0.7)
    assert within_six_sigma(int((changed[::2] & changed[1::2]).sum()), 500, 0.49)
    assert len({bytes(x.numpy()) for x in out[changed]}) == int(changed.sum())


@pytest.mark.parametrize(("scale", "reach"), [(0.1, 1), (0.4, 5)])
def test_perspective_moves_corners_inwards_by_up_to_its_scale_of_half_an_image(scale, reach):
    torch.manual_seed(0)
    out = Augmentation(perspective=1.0, perspective_scale=scale).on_load(
        torch.full((300, 1, 28, 28), 255, dtype=torch.uint8)
    )
    assert out[..., reach + 1 : 27 - reach, reach + 1 : 27 - reach].min() == 255
    black = out[:, 0] == 0
    assert black[:, 0, 0].float().mean() > 0.4
    assert black[:, reach - 1].any()  # the outermost reach is used


def test_noise_has_its_probability_and_a_deviation_that_is_uniform_up_to_its_largest():
    torch.manual_seed(0)
    out = Augmentation(noise=0.5, noise_std=0.05).on_load(torch.full((1200, 3, 24, 24), 100, dtype=torch.uint8))
    change = out.double().flatten(1) - 100
    noisy = change.abs().amax(1) > 0
    quiet = 0.5 / 3.5 / (0.05 * 255)  # so little noise that rounding leaves the image as it was
    assert within_six_sigma(int(noisy.sum()), 1200, 0.5 * (1 - quiet))
    flags = noisy[::2] & noisy[1::2]
    assert within_six_sigma(int(flags.sum()), 600, 0.25 * (1 - quiet) ** 2)
    assert abs(float(change[noisy].mean())) < 0.05  # rounded, not cut off
    std = np.sort(change[noisy].std(1).numpy()) / (0.05 * 255)
    assert np.abs(std - np.linspace(quiet, 1, len(std))).max() < 2 / np.sqrt(len(std))


@pytest.mark.parametrize("value", [0, 255])
def test_noise_is_clipped_to_the_range_of_pixels(value):
    torch.manual_seed(0)
    out = Augmentation(noise=1.0, noise_std=0.05).on_load(torch.full((50, 1, 8, 8), value, dtype=torch.uint8))
    away = (out.int() - value).abs()
    assert 0 < away.max() < 100
    assert 0.3 < (away == 0).float().mean() < 0.7


def test_noise_comes_after_the_crop():
    torch.manual_seed(0)
    out = Augmentation(crop_padding=3, noise=1.0, noise_std=0.05).on_load(
        torch.full((50, 1, 8, 8), 200, dtype=torch.uint8)
    )
    assert ((out > 0) & (out < 100)).any()


@pytest.mark.parametrize(
    ("name", "transform"),
    [
        ("auto_augment", v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10, InterpolationMode.BILINEAR)),
        ("trivial_augment_wide", v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR)),
        ("rand_augment", v2.RandAugment(2, 20, interpolation=InterpolationMode.BILINEAR)),
    ],
)
def test_policy_is_torchvisions_drawn_anew_for_every_image(name, transform):
    images = copies(60, picture())
    torch.manual_seed(0)
    out = Augmentation(policy=name, rand_magnitude=20.0).on_load(images)
    torch.manual_seed(0)
    assert torch.equal(out, torch.stack([transform(image) for image in images]))
    assert len({bytes(x.numpy()) for x in out}) > 20


def brightened(n: int, magnitude: float, std: float) -> np.ndarray:
    """Strengths of RandAugment, read off flat images of grey 100: brightness of strength m makes them 100 + 3 m."""
    torch.manual_seed(0)
    grey = torch.full((n, 1, 8, 8), 100, dtype=torch.uint8)
    out = Augmentation(policy="rand_augment", rand_magnitude=magnitude, rand_magnitude_std=std).on_load(grey).int()
    flat = out.flatten(1).amax(1) == out.flatten(1).amin(1)
    level = out[flat, 0, 0, 0].numpy()
    level = level[(level > 100) & (level % 3 == 1) & (level < 191)]
    return (level - 100) / 3


def test_rand_augments_strength_is_normal_around_its_magnitude():
    fixed, drawn = brightened(600, 15.0, 0.0), brightened(1500, 15.0, 3.0)
    assert (fixed == 15).mean() > 0.9  # the rest are two operations that happen to make such a grey
    assert len(drawn) > 40
    assert abs(drawn.mean() - 15) < 6 * 3 / np.sqrt(len(drawn))
    assert 1.8 < drawn.std() < 4.2
    assert len(set(drawn.tolist())) > 7


def test_rand_augments_strength_stays_on_its_scale():
    assert brightened(500, 0.0, 3.0).max() < 15  # below 0 is 0, not counted from the end of the scale
    assert (brightened(200, 30.0, 60.0) == 30).mean() > 0.3


@pytest.mark.parametrize("magnitude", [30.5, 31.0])
def test_rand_magnitude_above_its_scale_is_refused(magnitude):
    with pytest.raises(UserError, match=f"rand_magnitude must be from 0 to 30, got {magnitude}"):
        Augmentation(rand_magnitude=magnitude)


def test_batches_are_mixed_with_mix_probability_and_else_left_alone():
    labels, mixed_batches = torch.arange(8), 0
    images = flat_images(labels)
    augmentation = Augmentation(mixup_alpha=1.0, cutmix_alpha=1.0, mix_probability=0.3)
    torch.manual_seed(0)
    for _ in range(800):
        x, y = augmentation.on_device(images, labels, 8)
        if y.ndim == 2:
            mixed_batches += 1
        else:
            assert torch.equal(x, images)
            assert torch.equal(y, labels)
    assert within_six_sigma(mixed_batches, 800, 0.3)


def test_batches_that_are_never_mixed_cost_no_draw():
    state = torch.get_rng_state()
    x, y = Augmentation(mixup_alpha=1.0, mix_probability=0.0).on_device(torch.ones(4, 1, 2, 2), torch.arange(4), 4)
    assert (x.unique().tolist(), y.tolist()) == ([1.0], [0, 1, 2, 3])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("alphas", [{"mixup_alpha": 1.0}, {"cutmix_alpha": 1.0}])
def test_hard_labels_are_the_class_of_the_larger_share(alphas):
    labels, seen = torch.tensor([6, 1, 9, 0, 3, 8]), set()
    images = flat_images(labels)
    for seed in range(40):
        x, soft = mixed(Augmentation(**alphas), images, labels, 10, seed)
        same, hard = mixed(Augmentation(**alphas, hard_labels=True), images, labels, 10, seed)
        assert torch.equal(x, same)
        assert (hard.shape, hard.dtype) == ((6,), torch.int64)
        assert torch.equal(hard, soft.argmax(1))
        nearer = torch.stack([labels, labels.roll(1)])[
            (x.mean((1, 2, 3)) - torch.stack([labels, labels.roll(1)])).abs().argmin(0), torch.arange(6)
        ]
        assert torch.equal(hard, nearer)
        seen.add(bool((hard == labels).all()))
    assert seen == {True, False}


@pytest.mark.parametrize("half", [{"perspective": 0.5}, {"perspective_scale": 0.5}, {"noise": 0.5}, {"noise_std": 0.5}])
def test_probability_without_a_strength_or_the_reverse_is_off(half):
    images, state = torch.stack([picture(), picture()]), torch.get_rng_state()
    augmentation = Augmentation(**half)
    assert torch.equal(augmentation.on_load(images), images)
    assert torch.equal(torch.get_rng_state(), state)
    assert (augmentation.describe(), augmentation.per_image) == ("none", False)


def test_only_what_works_image_by_image_asks_for_loader_processes():
    assert Augmentation(perspective=0.5, perspective_scale=0.5).per_image
    assert Augmentation(policy="auto_augment").per_image
    whole_batch = Augmentation(flip=0.5, crop_padding=4, noise=0.5, noise_std=0.1, erasing=0.5, cutout=4)
    assert not whole_batch.per_image
    assert whole_batch.describe() == "flip + crop + noise + erasing + cutout"


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_config_lists_every_key_and_names_its_source(file):
    keys = yaml.safe_load(file.read_text())
    if bases := keys.pop("defaults", None):  # what it does not list stands in the config that it changes
        keys = yaml.safe_load((file.parent / f"{bases[0]}.yaml").read_text()) | keys
    module, _, name = keys.pop("_target_").rpartition(".")
    assert keys.pop("_partial_") is True
    cls = getattr(importlib.import_module(module), name)
    assert list(keys) == list(inspect.signature(cls).parameters)
    made = cls(**keys)
    assert (made.describe() == "none") == file.stem.startswith("none")
    assert file.stem.startswith("none") or "arXiv" in file.read_text().splitlines()[0]


def test_config_none_is_the_default_of_every_key():
    keys = yaml.safe_load((CONFIGS / "none.yaml").read_text())
    defaults = {name: p.default for name, p in inspect.signature(Augmentation).parameters.items()}
    assert {k: v for k, v in keys.items() if not k.startswith("_")} == defaults


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
        module.trainer = SimpleNamespace(training=True, global_step=step, current_epoch=0)
        torch.manual_seed(before)
        return module.on_after_batch_transfer(module.on_before_batch_transfer((x, y), 0), 0)

    first = at(0, 3, before=1)
    assert all(torch.equal(a, b) for a, b in zip(first, at(0, 3, before=2), strict=True))
    assert not torch.equal(first[1], at(0, 4, before=1)[1])
    assert not torch.equal(first[1], at(1, 3, before=1)[1])


def test_transfer_of_a_batch_draws_and_seeds_nothing_outside_training():
    module, batch = digits(Augmentation(mixup_alpha=1.0)), (torch.zeros(1, 2, 1, 8, 8).byte(), torch.arange(2))
    module.trainer = SimpleNamespace(training=False, global_step=3, current_epoch=0)
    state = torch.get_rng_state()
    module.on_after_batch_transfer(module.on_before_batch_transfer(batch, 0), 0)
    assert torch.equal(torch.get_rng_state(), state)
