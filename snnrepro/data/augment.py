"""Augmentation of image batches with draws that are independent for every image and the same over time.

Shapes: images `[B, C, H, W]`. Draws come from torch's CPU generator, which the caller has seeded.
"""

from typing import Literal

import torch
from torch import Tensor

from snnrepro.types import Fraction, NonNegativeFloat


class Augmentation:
    """The PSN paper's CIFAR recipe and its parts, each off at its default.

    flip: probability of a horizontal flip. policy: one torchvision operation of random strength on every image
    (bilinear). erasing: probability of erasing a rectangle after normalisation. mixup_alpha, cutmix_alpha: each batch
    is mixed by one of those above 0, chosen with equal chance; labels become `[B, K]` probabilities.
    Source: the released code of PSN, arXiv 2304.12760.
    """

    def __init__(
        self,
        *,
        flip: Fraction = 0.0,
        policy: Literal["trivial_augment_wide"] | None = None,
        erasing: Fraction = 0.0,
        mixup_alpha: NonNegativeFloat = 0.0,
        cutmix_alpha: NonNegativeFloat = 0.0,
    ) -> None:
        from torchvision.transforms import InterpolationMode, v2

        self.flip = flip
        self.erasing = erasing
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self._policy = v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR) if policy else None
        self._eraser = v2.RandomErasing(p=1.0)

    @property
    def per_image(self) -> bool:
        """Whether loading costs work for every single image, so that loader processes pay."""
        return self._policy is not None

    def describe(self) -> str:
        """What is on, in a few words."""
        parts = {
            "flip": self.flip,
            "trivial_augment_wide": self._policy is not None,
            "erasing": self.erasing,
            "mixup": self.mixup_alpha,
            "cutmix": self.cutmix_alpha,
        }
        return " + ".join(name for name, on in parts.items() if on) or "none"

    def on_load(self, images: Tensor) -> Tensor:
        """What works on pixels, uint8 -> uint8: flip, then the policy. Runs in the loader."""
        if self.flip > 0:
            flipped = torch.rand(len(images)) < self.flip
            images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
        if self._policy is not None:
            images = torch.stack([self._policy(image) for image in images])
        return images

    def on_device(self, images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """What works on normalised images, float -> float: erasing, then mixing of the batch."""
        if self.erasing > 0:
            images = images.clone()
            for i in torch.nonzero(torch.rand(len(images)) < self.erasing).flatten().tolist():
                images[i] = self._eraser(images[i])
        mixers = [("MixUp", self.mixup_alpha), ("CutMix", self.cutmix_alpha)]
        mixers = [(name, alpha) for name, alpha in mixers if alpha > 0]
        if mixers:
            from torchvision.transforms import v2

            name, alpha = mixers[int(torch.randint(len(mixers), ()))]
            images, labels = getattr(v2, name)(alpha=alpha, num_classes=num_classes)(images, labels)
        return images, labels
