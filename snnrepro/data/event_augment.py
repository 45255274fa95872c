"""Augmentation of frames of events: draws are independent for every sample, the same over its time and polarities.

Shapes: frames `[T, B, C, H, W]` (C polarities), one-dimensional input (speech) `[T, B, F]` or `[T, B, C, L]`. Draws
come from torch's CPU generator, which the caller has seeded.
"""

import torch
from torch import Tensor

from snnrepro.data.augment import happens, mixup, random_crop, random_flip
from snnrepro.errors import UserError
from snnrepro.types import Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt


class EventAugmentation:
    """The papers' recipes for events and their parts, each off at its default, applied in this order.

    crop_padding: crop to the same size out of the frame with so many empty pixels on each side. flip: probability of a
    horizontal flip. roll: shift by up to so many pixels, cyclic, along both axes; of one-dimensional input along its
    last axis, with nothing coming in. rotate: degrees; an angle uniform in -rotate to rotate, each pixel taking the
    count of the nearest one. drop: each sample loses a share of its events that is uniform in 0 to drop, each event by
    its own chance (random drop of EventDrop, arXiv 2106.05836). mixup_alpha (arXiv 1710.09412): with
    mixup_probability a batch is mixed, in the first mixup_epochs epochs (null: in all); its labels become `[B, K]`
    probabilities, or with hard_labels the class of the larger share.

    Sources: the released code of PSN (arXiv 2304.12760), PSU (arXiv 2402.00449) and MPE-PSN (arXiv 2409.04978).
    """

    per_image = False  # nothing is done on load

    def __init__(
        self,
        *,
        crop_padding: NonNegativeInt = 0,
        flip: Fraction = 0.0,
        roll: NonNegativeInt = 0,
        rotate: NonNegativeFloat = 0.0,
        drop: Fraction = 0.0,
        mixup_alpha: NonNegativeFloat = 0.0,
        mixup_probability: Fraction = 1.0,
        mixup_epochs: PositiveInt | None = None,
        hard_labels: bool = False,
    ) -> None:
        self.crop_padding = crop_padding
        self.flip = flip
        self.roll = roll
        self.rotate = rotate
        self.drop = drop
        self.mixup_alpha = mixup_alpha
        self.mixup_probability = mixup_probability
        self.mixup_epochs = mixup_epochs
        self.hard_labels = hard_labels

    def describe(self) -> str:
        """What is on, in a few words."""
        parts = {
            "crop": self.crop_padding,
            "flip": self.flip,
            "roll": self.roll,
            "rotate": self.rotate,
            "drop": self.drop,
            "mixup": self.mixup_probability > 0 and self.mixup_alpha,
        }
        return " + ".join(name for name, on in parts.items() if on) or "none"

    def on_frames(self, x: Tensor, labels: Tensor, num_classes: int, epoch: int = 0) -> tuple[Tensor, Tensor]:
        """Counts of events, float (drop wants them not negative), and labels `[B]`, on any device. epoch: from 0.

        Raises UserError for one-dimensional input where crop_padding, flip or rotate is on.
        """
        spatial = x.ndim == 5
        planar = [name for name in ("crop_padding", "flip", "rotate") if getattr(self, name) > 0]
        if planar and not spatial:
            raise UserError(
                f"augmentation.{planar[0]} needs frames with height and width; set it to 0 for this data set"
            )
        if self.crop_padding > 0:
            x = random_crop(x, self.crop_padding, batch_dim=1)
        if self.flip > 0:
            x = random_flip(x, self.flip, batch_dim=1)
        if self.roll > 0:
            x = _rolled(x, self.roll) if spatial else _shifted(x, self.roll)
        if self.rotate > 0:
            x = _rotated(x, self.rotate)
        if self.drop > 0:
            x = _thinned(x, self.drop)
        mixes = self.mixup_epochs is None or epoch < self.mixup_epochs
        if self.mixup_alpha > 0 and mixes and happens(self.mixup_probability):
            x, labels = mixup(x, labels, num_classes, self.mixup_alpha, batch_dim=1)
            labels = labels.argmax(1) if self.hard_labels else labels
        return x, labels


def _rolled(x: Tensor, most: int) -> Tensor:
    height, width = x.shape[-2:]
    down, right = torch.randint(-most, most + 1, (2, x.shape[1], 1))
    row, column = (torch.arange(height) - down) % height, (torch.arange(width) - right) % width
    return _picked(x.flatten(3), (row[:, :, None] * width + column[:, None]).flatten(1)).view_as(x)


def _shifted(x: Tensor, most: int) -> Tensor:
    source = torch.arange(x.shape[-1]) - torch.randint(-most, most + 1, (x.shape[1], 1))
    return _picked(x, source.where(source < x.shape[-1], -1))


def _rotated(x: Tensor, most: float) -> Tensor:
    """Around the middle of the frame."""
    height, width = x.shape[-2:]
    angle = torch.deg2rad((2 * torch.rand(x.shape[1], 1, 1, dtype=torch.float64) - 1) * most)
    v, u = torch.arange(height)[:, None] - (height - 1) / 2, torch.arange(width) - (width - 1) / 2
    row = (angle.cos() * v + angle.sin() * u + (height - 1) / 2).round().long()
    column = (angle.cos() * u - angle.sin() * v + (width - 1) / 2).round().long()
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return _picked(x.flatten(3), (row * width + column).where(inside, -1).flatten(1)).view_as(x)


def _picked(x: Tensor, source: Tensor) -> Tensor:
    """`x[..., source]` of every sample, nothing where source `[B, n]` is negative; n is the length of x's last axis."""
    source = source.view(1, x.shape[1], *[1] * (x.ndim - 3), -1).to(x.device)
    return x.gather(-1, source.clamp(min=0).expand_as(x)) * (source >= 0)


def _thinned(x: Tensor, most: float) -> Tensor:
    """Each event kept with its sample's chance; a broken count is so many events, rounded up, of equal weight below 1.

    The draws for single events are made on x's device, from a generator that one draw of the CPU's seeds.
    """
    kept = 1 - most * torch.rand(x.shape[1])
    generator = torch.Generator(x.device).manual_seed(int(torch.randint(2**63 - 1, ())))
    events = x.ceil()
    chance = kept.view(1, -1, *[1] * (x.ndim - 2)).to(x.device).expand_as(x)
    survivors = torch.binomial(events.float(), chance, generator=generator).to(x.dtype)
    return survivors * (x / events.clamp(min=1))
