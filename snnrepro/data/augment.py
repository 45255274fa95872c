"""Augmentation of image batches with draws that are independent for every image and the same over time.

Shapes: images `[B, C, H, W]`. Draws come from torch's CPU generator, which the caller has seeded. The functions at the
end take any x `[*, B, *]` whose batch lies at `batch_dim`; spatial ones work on its last two axes.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from snnrepro.errors import UserError
from snnrepro.types import Fraction, NonNegativeFloat, NonNegativeInt

STRONGEST = 30  # of torchvision's RandAugment, whose strengths are whole numbers from 0


class Augmentation:
    """The papers' recipes for images and their parts, each off at its default.

    On load, on pixels of 0 to 255, in this order:
    perspective: probability of a change of perspective; corners move inwards by up to perspective_scale times half the
    image. flip: probability of a horizontal flip. crop_padding: crop to the same size out of the image with so many
    black pixels on each side. policy: torchvision's, bilinear: trivial_augment_wide (one operation of random strength,
    arXiv 2103.10158), rand_augment (two operations, arXiv 1909.13719, each of a strength from 0 to 30 that is normal
    around rand_magnitude with deviation rand_magnitude_std) or auto_augment (arXiv 1805.09501, its CIFAR-10 policy).
    noise: probability of Gaussian noise whose deviation is uniform in 0 to noise_std, in units of 255.

    On the device, after normalisation, erased pixels becoming 0:
    erasing: probability of erasing a rectangle of 2 % to 33 % of the image (arXiv 1708.04896). cutout: side in pixels
    of a square around a uniform centre, cut at the borders (arXiv 1708.04552). mixup_alpha (arXiv 1710.09412),
    cutmix_alpha (arXiv 1905.04899): with mix_probability a batch is mixed by one of those above 0, chosen with equal
    chance; its labels become `[B, K]` probabilities, or with hard_labels the class of the larger share.

    Raises UserError for rand_magnitude above 30. Sources: the released code of PSN (arXiv 2304.12760), PSU
    (arXiv 2402.00449), MPE-PSN (arXiv 2409.04978) and Block (arXiv 2205.15286), whose orders this one serves: where a
    paper crops before it flips, the outcome has the same distribution.
    """

    def __init__(
        self,
        *,
        perspective: Fraction = 0.0,
        perspective_scale: Fraction = 0.0,
        flip: Fraction = 0.0,
        crop_padding: NonNegativeInt = 0,
        policy: Literal["trivial_augment_wide", "rand_augment", "auto_augment"] | None = None,
        rand_magnitude: NonNegativeFloat = 9.0,
        rand_magnitude_std: NonNegativeFloat = 0.0,
        noise: Fraction = 0.0,
        noise_std: NonNegativeFloat = 0.0,
        erasing: Fraction = 0.0,
        cutout: NonNegativeInt = 0,
        mixup_alpha: NonNegativeFloat = 0.0,
        cutmix_alpha: NonNegativeFloat = 0.0,
        mix_probability: Fraction = 1.0,
        hard_labels: bool = False,
    ) -> None:
        from torchvision.transforms import v2

        if rand_magnitude > STRONGEST:
            raise UserError(f"augmentation.rand_magnitude must be from 0 to {STRONGEST}, got {rand_magnitude}")
        self.perspective = perspective if perspective_scale > 0 else 0.0
        self.flip = flip
        self.crop_padding = crop_padding
        self.policy = policy
        self.rand_magnitude = rand_magnitude
        self.rand_magnitude_std = rand_magnitude_std
        self.noise = noise if noise_std > 0 else 0.0
        self.noise_std = noise_std
        self.erasing = erasing
        self.cutout = cutout
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.mix_probability = mix_probability
        self.hard_labels = hard_labels
        self._operations = _operations(policy)
        self._warp = v2.RandomPerspective(perspective_scale, p=1.0)
        self._eraser = v2.RandomErasing(p=1.0)

    @property
    def per_image(self) -> bool:
        """Whether loading costs work for every single image, so that loader processes pay."""
        return self.policy is not None or self.perspective > 0

    def describe(self) -> str:
        """What is on, in a few words."""
        mixing = self.mix_probability > 0
        parts = {
            "perspective": self.perspective,
            "flip": self.flip,
            "crop": self.crop_padding,
            str(self.policy): self.policy,
            "noise": self.noise,
            "erasing": self.erasing,
            "cutout": self.cutout,
            "mixup": mixing and self.mixup_alpha,
            "cutmix": mixing and self.cutmix_alpha,
        }
        return " + ".join(name for name, on in parts.items() if on) or "none"

    def on_load(self, images: Tensor) -> Tensor:
        """What works on pixels, uint8 -> uint8: perspective, flip, crop, policy, noise. Runs in the loader."""
        if self.perspective > 0:
            images = _some(images, self.perspective, self._warp)
        if self.flip > 0:
            images = random_flip(images, self.flip)
        if self.crop_padding > 0:
            images = random_crop(images, self.crop_padding)
        if self.policy is not None:
            images = torch.stack([self._by_policy(image) for image in images])
        if self.noise > 0:
            images = _noisy(images, self.noise, 255 * self.noise_std)
        return images

    def on_device(self, images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """What works on normalised images, float -> float: erasing, cutout, then mixing of the batch."""
        if self.erasing > 0:
            images = _some(images, self.erasing, self._eraser)
        if self.cutout > 0:
            images = _cutout(images, self.cutout)
        mixers = [name for name in ("mixup", "cutmix") if getattr(self, f"{name}_alpha") > 0]
        if mixers and happens(self.mix_probability):
            if mixers[int(torch.randint(len(mixers), ()))] == "mixup":
                images, labels = mixup(images, labels, num_classes, self.mixup_alpha)
            else:
                from torchvision.transforms import v2

                images, labels = v2.CutMix(alpha=self.cutmix_alpha, num_classes=num_classes)(images, labels)
            labels = labels.argmax(1) if self.hard_labels else labels
        return images, labels

    def _by_policy(self, image: Tensor) -> Tensor:
        if self.policy != "rand_augment":
            augmented: Tensor = self._operations[0](image)
            return augmented
        for _ in range(2):
            strength = self.rand_magnitude
            if self.rand_magnitude_std > 0:
                strength += self.rand_magnitude_std * float(torch.randn(()))
            image = self._operations[min(STRONGEST, max(0, round(strength)))](image)
        return image


def _operations(policy: str | None) -> list[Any]:
    """What a policy applies to an image; of RandAugment one operation, for each strength."""
    from torchvision.transforms import InterpolationMode, v2

    bilinear = InterpolationMode.BILINEAR
    if policy is None:
        return []
    if policy == "rand_augment":
        return [v2.RandAugment(1, strength, interpolation=bilinear) for strength in range(STRONGEST + 1)]
    if policy == "auto_augment":
        return [v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10, interpolation=bilinear)]
    return [v2.TrivialAugmentWide(interpolation=bilinear)]


def _some(images: Tensor, probability: float, transform: Callable[[Tensor], Tensor]) -> Tensor:
    """Each image by itself, transformed with a probability."""
    images = images.clone()
    for i in torch.nonzero(torch.rand(len(images)) < probability).flatten().tolist():
        images[i] = transform(images[i])
    return images


def _noisy(images: Tensor, probability: float, largest_std: float) -> Tensor:
    """Gaussian noise on uint8 images, rounded and clipped to 0 to 255."""
    chosen = torch.nonzero(torch.rand(len(images)) < probability).flatten()
    std = largest_std * torch.rand(len(chosen), 1, 1, 1)
    noise = std * torch.randn(len(chosen), *images.shape[1:])
    return images.index_copy(0, chosen, (images[chosen] + noise).round().clamp(0, 255).to(images.dtype))


def _cutout(images: Tensor, side: int) -> Tensor:
    """0 inside a square around a uniform centre of each image, cut at the borders."""
    hidden = []
    for size in images.shape[-2:]:
        first = torch.randint(size, (len(images), 1)) - side // 2
        at = torch.arange(size)
        hidden.append((at >= first) & (at < first + side))
    square = hidden[0][:, None, :, None] & hidden[1][:, None, None, :]
    return images.masked_fill(square.to(images.device), 0)


def happens(probability: float) -> bool:
    """One draw, none where the outcome is certain."""
    return probability >= 1 or (probability > 0 and float(torch.rand(())) < probability)


def random_flip(x: Tensor, probability: float, batch_dim: int = 0) -> Tensor:
    """Each sample mirrored left to right with a probability."""
    flipped = torch.rand(x.shape[batch_dim]) < probability
    shape = [-1 if dim == batch_dim else 1 for dim in range(x.ndim)]
    return torch.where(flipped.view(shape).to(x.device), x.flip(-1), x)


def random_crop(x: Tensor, padding: int, batch_dim: int = 0) -> Tensor:
    """Each sample cut at a place of its own, to its own size, out of x with `padding` zeros on each side."""
    height, width = x.shape[-2:]
    windows = F.pad(x, [padding] * 4).movedim(batch_dim, 0).unfold(-2, height, 1).unfold(-2, width, 1)
    which = torch.arange(len(windows), device=x.device)
    top, left = torch.randint(2 * padding + 1, (2, len(windows))).to(x.device)
    return windows[which, ..., top, left, :, :].movedim(0, batch_dim)


def mixup(x: Tensor, labels: Tensor, num_classes: int, alpha: float, batch_dim: int = 0) -> tuple[Tensor, Tensor]:
    """Each sample blended with its neighbour in the batch, `w x + (1 - w) x'`, w ~ Beta(alpha, alpha), one for a batch.

    labels `[B]` become probabilities `[B, K]`.
    """
    concentration = torch.tensor([alpha])
    weight = float(torch.distributions.Beta(concentration, concentration).sample())
    one_hot = F.one_hot(labels, num_classes).float()
    x = x.roll(1, batch_dim) * (1 - weight) + x * weight
    return x, one_hot.roll(1, 0) * (1 - weight) + one_hot * weight
