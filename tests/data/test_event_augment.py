"""Augmentation of events: one draw for a sample, the same at every step and in both polarities, and counts kept."""

import numpy as np
import pytest
import torch
from torch import Tensor

from snnrepro.data.event_augment import EventAugmentation
from snnrepro.errors import UserError

SPATIAL = {"crop_padding": 2, "flip": 0.5, "roll": 2, "rotate": 30.0}
EVERYTHING = {**SPATIAL, "drop": 0.5, "mixup_alpha": 0.5}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SHAPES = {"frames": (3, 8, 2, 7, 9), "speech": (5, 8, 20), "channels": (5, 8, 2, 20)}


def recording(*shape: int) -> Tensor:
    """Counts of 1 and above without any symmetry, another frame at every step and polarity."""
    return torch.randint(1, 200, shape, generator=torch.Generator().manual_seed(1)).float()


def copies(n: int, sample: Tensor) -> Tensor:
    """`[T, *]` -> `[T, n, *]`."""
    return sample[:, None].expand(-1, n, *sample.shape[1:]).clone()


def frames_of(augmentation: EventAugmentation, x: Tensor, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return augmentation.on_frames(x, torch.zeros(x.shape[1], dtype=torch.long), 10)[0]


def within_six_sigma(hits: int, n: int, p: float) -> bool:
    return abs(hits - n * p) <= 6 * np.sqrt(n * p * (1 - p))


def evenly(counts: np.ndarray) -> bool:
    """Whether the cells of a table hold as many hits as chance would give, by six sigma of the chi-square."""
    expected, freedom = counts.sum() / counts.size, counts.size - 1
    return abs(((counts - expected) ** 2 / expected).sum() - freedom) < 6 * np.sqrt(2 * freedom)


def uniform(values: np.ndarray, low: float, high: float, slack: float = 0.0) -> bool:
    """Kolmogorov-Smirnov at a chance below 1e-6."""
    place = (np.sort(values) - low) / (high - low)
    return np.abs(place - np.linspace(0, 1, len(place))).max() < 2.7 / np.sqrt(len(place)) + slack


@pytest.mark.parametrize("p", [0.25, 0.5])
def test_each_sample_flips_as_a_whole_with_its_probability(p):
    sample = recording(3, 2, 4, 5)
    out = frames_of(EventAugmentation(flip=p), copies(3000, sample)).transpose(0, 1)
    flipped = (out == sample.flip(-1)).flatten(1).all(1)
    assert torch.equal(~flipped, (out == sample).flatten(1).all(1))  # every step and polarity, or none
    assert within_six_sigma(int(flipped.sum()), 3000, p)
    assert within_six_sigma(int((flipped[::2] & flipped[1::2]).sum()), 1500, p * p)


def cropped(sample: Tensor, down: int, right: int) -> Tensor:
    """The sample moved by whole pixels, zeros coming in."""
    size = sample.shape[-1]
    big = torch.nn.functional.pad(sample, [size] * 4)
    return big[..., size - down : 2 * size - down, size - right : 2 * size - right]


@pytest.mark.parametrize(
    ("setting", "moved"),
    [("crop_padding", cropped), ("roll", lambda sample, down, right: sample.roll((down, right), (-2, -1)))],
)
def test_each_sample_moves_as_a_whole_to_a_uniform_place(setting, moved):
    sample, table, neighbours = recording(2, 2, 6, 6), np.zeros((5, 5)), np.zeros((25, 25))
    out = frames_of(EventAugmentation(**{setting: 2}), copies(5000, sample)).transpose(0, 1)
    found = {
        moved(sample, down, right).numpy().tobytes(): (down + 2, right + 2)
        for down in range(-2, 3)
        for right in range(-2, 3)
    }
    places = np.array([found[x.numpy().tobytes()] for x in out])
    np.add.at(table, tuple(places.T), 1)
    assert evenly(table)
    index = places @ [5, 1]
    np.add.at(neighbours, (index[::2], index[1::2]), 1)
    assert evenly(neighbours)


def test_roll_and_flip_keep_every_count_of_frames_that_are_not_square():
    x = recording(3, 6, 2, 5, 8)
    out = frames_of(EventAugmentation(flip=0.5, roll=11), x)
    assert not torch.equal(out, x)
    assert torch.equal(out.flatten(3).sort().values, x.flatten(3).sort().values)


def blobs(n: int) -> Tensor:
    """At step 0 three by three events 15 pixels right of the middle, at step 1 below it; frames 61 high, 81 wide."""
    x = torch.zeros(2, n, 1, 61, 81)
    x[0, :, :, 29:32, 54:57] = 1
    x[1, :, :, 44:47, 39:42] = 1
    return x


def test_rotation_turns_all_of_a_sample_by_one_angle_that_is_uniform():
    out = frames_of(EventAugmentation(rotate=30.0), blobs(600))[:, :, 0]
    assert set(out.unique().tolist()) == {0.0, 1.0}
    rows, cols = torch.arange(61.0) - 30, torch.arange(81.0) - 40
    mass = out.sum((2, 3))
    down, right = (out.sum(3) @ rows) / mass, (out.sum(2) @ cols) / mass
    assert (torch.hypot(down, right) - 15).abs().max() < 0.5  # frames are not stretched, the middle stays
    first = torch.rad2deg(torch.atan2(down[0], right[0])).numpy()
    second = torch.rad2deg(torch.atan2(-right[1], down[1])).numpy()
    assert np.abs(first - second).max() < 3  # a blob's centre is known to about half a pixel
    assert uniform((first + second) / 2, -30, 30, slack=0.02)
    assert abs(np.corrcoef(first[::2], first[1::2])[0, 1]) < 6 / np.sqrt(300)


def test_rotation_is_the_same_in_both_polarities_and_samples_the_nearest_pixel():
    events = recording(2, 40, 1, 12, 12)
    out = frames_of(EventAugmentation(rotate=45.0), torch.cat([events, 1000 + events], 2))
    assert torch.equal(out[:, :, 1], torch.where(out[:, :, 0] > 0, 1000 + out[:, :, 0], 0))
    assert set(out[:, :, 0].unique().tolist()) <= {0.0, *events.unique().tolist()}
    assert 0 < (out == 0).float().mean() < 0.3  # corners leave the frame


def test_what_rotation_brings_in_from_outside_the_frame_is_empty():
    places = torch.stack(torch.meshgrid(torch.arange(20.0), torch.arange(26.0), indexing="ij")) + 1
    out = frames_of(EventAugmentation(rotate=10.0), copies(100, places[None])).transpose(0, 1)[:, 0]
    assert (out[:, 0] == 0).any()
    assert (out - places).where(out > 0, 0).abs().max() <= 3  # at most 16.4 * 2 sin(5 degrees), and rounding


def test_rotation_by_next_to_nothing_leaves_every_count_where_it_is():
    x = recording(2, 20, 2, 9, 14)
    assert torch.equal(frames_of(EventAugmentation(rotate=1e-6), x), x)


def test_each_sample_loses_a_uniform_share_of_its_events():
    out = frames_of(EventAugmentation(drop=0.6), torch.full((4, 500, 2, 8, 8), 20.0))
    kept = out.mean((0, 2, 3, 4)) / 20
    assert uniform(kept.numpy(), 0.4, 1.0, slack=0.02)
    parts = torch.stack([out[:2].mean((0, 2, 3, 4)), out[2:].mean((0, 2, 3, 4)), out[:, :, 0].mean((0, 2, 3))]) / 20
    assert (parts - kept).abs().max() < 0.06  # one share for all steps and both polarities
    assert abs(np.corrcoef(kept[::2], kept[1::2])[0, 1]) < 6 / np.sqrt(250)


def test_events_are_dropped_independently_of_each_other():
    out = frames_of(EventAugmentation(drop=0.9), torch.full((4, 300, 2, 8, 8), 20.0)).transpose(0, 1).flatten(1)
    assert torch.equal(out, out.round())
    assert (out.min(), out.max()) == (0, 20)
    kept = out.mean(1) / 20
    excess = (out.var(1) - 20 * kept * (1 - kept)).mean()  # 0 for binomial counts
    assert abs(float(excess)) < 0.15


def test_every_batch_has_draws_of_its_own_for_its_events():
    x = torch.ones(1, 1, 1, 40, 40)
    out = torch.stack([frames_of(EventAugmentation(drop=1.0), x, seed).flatten() for seed in range(200)])
    share = out.mean(1)
    one_event = out[(share > 0.25) & (share < 0.5), 0]
    assert 0.1 < one_event.mean() < 0.7


def test_frames_of_zeros_and_ones_stay_so_and_empty_pixels_stay_empty():
    x = (recording(4, 50, 2, 8, 8) > 120).float()
    out = frames_of(EventAugmentation(drop=1.0), x)
    assert set(out.unique().tolist()) == {0.0, 1.0}
    assert (out <= x).all()
    assert 0.4 < out.sum() / x.sum() < 0.6


def test_counts_with_a_fraction_are_thinned_to_the_same_expectation():
    out = frames_of(EventAugmentation(drop=1.0), torch.full((10, 400, 20), 2.5))
    values = out.unique()
    torch.testing.assert_close(values, torch.tensor([0.0, 2.5 / 3, 5 / 3, 2.5]))
    assert abs(float(out.mean()) / 2.5 - 0.5) < 6 * (1 / np.sqrt(12)) / np.sqrt(400)


@pytest.mark.parametrize("shape", [SHAPES["speech"], SHAPES["channels"]])
def test_speech_moves_along_its_last_axis_with_nothing_coming_in(shape):
    sample, hits = recording(shape[0], *shape[2:]), np.zeros(7)
    out = frames_of(EventAugmentation(roll=3), copies(700, sample)).transpose(0, 1)
    padded = torch.nn.functional.pad(sample, [3, 3])
    for x in out:
        found = [by for by in range(7) if torch.equal(x, padded[..., by : by + 20])]
        hits[found] += 1
        assert len(found) == 1
    assert evenly(hits)


def test_speech_moved_out_of_its_range_is_silent():
    out = frames_of(EventAugmentation(roll=50), copies(200, torch.ones(2, 3)))
    assert (out.sum((0, 2)) == 0).float().mean() > 0.7


@pytest.mark.parametrize("setting", [{"flip": 0.5}, {"crop_padding": 1}, {"rotate": 5.0}])
@pytest.mark.parametrize("kind", ["speech", "channels"])
def test_speech_has_no_height_and_width_to_turn(setting, kind):
    with pytest.raises(UserError, match=f"augmentation.{next(iter(setting))} needs frames with height") as error:
        frames_of(EventAugmentation(**setting), recording(*SHAPES[kind]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_labels_are_mixed_with_the_same_weights_as_the_frames(shape):
    labels = torch.tensor([6, 1, 9, 0, 3, 8, 2, 5])
    x = labels.float().view(1, -1, *[1] * (len(shape) - 2)).expand(shape)
    weights = set()
    for seed in range(30):
        torch.manual_seed(seed)
        mixed, y = EventAugmentation(mixup_alpha=1.0).on_frames(x, labels, 10)
        assert (mixed.shape, y.shape, y.dtype) == (shape, (8, 10), torch.float32)
        torch.testing.assert_close(y.sum(1), torch.ones(8))
        expected = (y @ torch.arange(10.0)).view(1, -1, *[1] * (len(shape) - 2)).expand(shape)
        torch.testing.assert_close(mixed, expected)
        weights.add(round(float(y[0, 6]), 3))
    assert len(weights) > 20


@pytest.mark.parametrize(("epochs", "mixing"), [(None, [0, 1, 2, 3]), (2, [0, 1]), (1, [0])])
def test_mixup_ends_after_its_epochs(epochs, mixing):
    augmentation = EventAugmentation(mixup_alpha=0.5, mixup_epochs=epochs)
    mixed = []
    for epoch in range(4):
        if augmentation.on_frames(torch.rand(2, 4, 1, 3, 3), torch.arange(4), 4, epoch)[1].ndim == 2:
            mixed.append(epoch)
    assert mixed == mixing


def test_weight_of_mixup_is_beta_distributed_with_its_alpha():
    labels, augmentation = torch.arange(4), EventAugmentation(mixup_alpha=0.5)
    torch.manual_seed(0)
    own = np.array([augmentation.on_frames(torch.ones(1, 4, 1), labels, 4)[1][0, 0] for _ in range(800)])
    assert abs(own.mean() - 0.5) < 6 * own.std() / np.sqrt(800)
    assert abs(own.var() - 1 / 8) < 0.015


def test_batches_are_mixed_with_their_probability_and_hard_labels_are_the_larger_share():
    labels, mixed, changed = torch.arange(8), 0, 0
    x = labels.float().view(1, 8, 1).expand(2, 8, 3)
    torch.manual_seed(0)
    augmentation = EventAugmentation(mixup_alpha=0.5, mixup_probability=0.5, hard_labels=True)
    for _ in range(600):
        out, y = augmentation.on_frames(x, labels, 8)
        assert (y.shape, y.dtype) == ((8,), torch.int64)
        mixed += not torch.equal(out, x)
        changed += not torch.equal(y, labels)
        nearer = (out[0, :, 0] - labels).abs() <= (out[0, :, 0] - labels.roll(1)).abs()
        assert torch.equal(y, torch.where(nearer, labels, labels.roll(1)))
    assert within_six_sigma(mixed, 600, 0.5)
    assert within_six_sigma(changed, 600, 0.25)


def test_labels_of_a_batch_that_is_not_mixed_stay_as_they_were():
    state = torch.get_rng_state()
    augmentation = EventAugmentation(mixup_alpha=0.5, mixup_probability=0.0)
    x, y = augmentation.on_frames(torch.ones(2, 3, 4), torch.tensor([2, 0, 1]), 3)
    assert (x.unique().tolist(), y.tolist()) == ([1.0], [2, 0, 1])
    assert torch.equal(torch.get_rng_state(), state)
    assert augmentation.describe() == "none"


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_event_augmentation_is_off_by_default_and_draws_nothing(shape):
    x, labels, state = recording(*shape), torch.arange(8), torch.get_rng_state()
    augmentation = EventAugmentation()
    out, y = augmentation.on_frames(x, labels, 10)
    assert torch.equal(out, recording(*shape))
    assert torch.equal(y, labels)
    assert torch.equal(torch.get_rng_state(), state)
    assert (augmentation.describe(), augmentation.per_image) == ("none", False)


def test_description_names_what_is_on():
    assert EventAugmentation(**EVERYTHING).describe() == "crop + flip + roll + rotate + drop + mixup"
    assert EventAugmentation(flip=0.5, drop=0.1).describe() == "flip + drop"


@pytest.mark.parametrize("setting", EVERYTHING)
def test_same_seed_gives_the_same_frames_and_another_seed_others(setting):
    x = recording(*SHAPES["frames"])
    augmentation = EventAugmentation(**{setting: EVERYTHING[setting]})
    first, again, other = (frames_of(augmentation, x, seed) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", SHAPES)
def test_frames_keep_their_dtype_shape_and_device_and_the_callers_batch_is_left_alone(kind, dtype, device):
    x = recording(*SHAPES[kind]).to(device, dtype)
    before, labels = x.clone(), torch.arange(8, device=device)
    settings = EVERYTHING if kind == "frames" else {"roll": 2, "drop": 0.5, "mixup_alpha": 0.5}
    torch.manual_seed(0)
    out, y = EventAugmentation(**settings).on_frames(x, labels, 10)
    assert (out.dtype, out.shape, out.device) == (dtype, x.shape, x.device)
    assert (y.shape, y.device) == ((8, 10), x.device)
    assert not torch.equal(out, before)
    assert torch.equal(x, before)
    assert labels.tolist() == list(range(8))


def test_frames_of_one_sample_one_step_and_one_pixel_pass():
    x, y = torch.ones(1, 1, 2, 1, 1), torch.tensor([3])
    torch.manual_seed(0)
    out, soft = EventAugmentation(**EVERYTHING).on_frames(x, y, 5)
    assert (out.shape, soft.shape) == (x.shape, (1, 5))
    assert float(soft[0, 3]) == pytest.approx(1)


def test_frames_that_are_a_view_are_augmented_as_their_copy_is():
    batch_first = recording(8, 3, 2, 7, 9)
    view = batch_first.transpose(0, 1)
    augmentation = EventAugmentation(**EVERYTHING)
    assert torch.equal(frames_of(augmentation, view), frames_of(augmentation, view.contiguous()))
