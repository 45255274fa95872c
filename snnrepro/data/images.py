"""Still images, made an input over time by an encoding.

Shapes: in memory `[N, C, H, W]` uint8; batches `[1, B, C, H, W]` uint8; on the device float `[T, B, *]` as the encoding
(snnrepro.data.encoding) makes it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from snnrepro.data.augment import Augmentation
from snnrepro.data.datamodule import DataModule
from snnrepro.data.encoding import columns, latency, latency_v1, pixel_order, pixels, rate, repeat, rows
from snnrepro.data.event_augment import EventAugmentation
from snnrepro.data.image_files import READERS
from snnrepro.data.samples import ArraySamples, Batch, Samples
from snnrepro.errors import UserError, require_positive
from snnrepro.types import NonNegativeInt, PositiveFloat, PositiveInt

CLASS_NAMES = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "fashion_mnist": (
        *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    "yin_yang": ("yin", "yang", "dot"),
}
MOST_CLASSES = 100_000


def encoded_shape(encoding: str, shape: tuple[int, int, int]) -> tuple[int | None, tuple[int, ...]]:
    """T where the encoding fixes it (else None), and the input shape without T and B, of images C, H, W."""
    channels, height, width = shape
    if encoding == "columns":
        return width, (channels, height)
    if encoding == "rows":
        return height, (channels, width)
    if encoding in ("pixels", "permuted_pixels"):
        return height * width, (channels,)
    return None, shape


def _each_image(transform: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A transform of images `[B, C, H, W]` on a batch `[1, B, C, H, W]`."""
    return transform(x[0])[None]


class ImageDataModule(DataModule):
    """An image data set read from its official files (snnrepro.data.image_files), or generated.

    image_shape: C, H, W. encoding: the image at each of num_steps steps (`repeat`); one column, row or pixel a step;
    Bernoulli spikes at a rate (`rate`); one spike, the earlier the brighter (`latency`; `latency_v1`). pixel_max: the
    value that stands for 1. mean, std: of each channel, after division by pixel_max; rate and latency take intensities
    from 0 to 1 without them. permutation_seed: of permuted_pixels. allow_partial, damaged: of imagenet, see
    snnrepro.data.image_folder. loading: see snnrepro.data.datamodule.DataModule.
    """

    def __init__(
        self,
        data_dir: str,
        cache_dir: str,
        protocol: str,
        seed: int,
        augmentation: Augmentation | EventAugmentation,
        *,
        source: Literal["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "yin_yang", "imagenet"],
        image_shape: Sequence[PositiveInt],
        num_classes: PositiveInt,
        num_steps: PositiveInt,
        encoding: Literal[
            "repeat", "columns", "rows", "pixels", "permuted_pixels", "rate", "latency", "latency_v1"
        ] = "repeat",
        pixel_max: PositiveFloat = 255.0,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        permutation_seed: NonNegativeInt = 0,
        allow_partial: bool = False,
        damaged: Literal["stop", "skip"] = "stop",
        **loading: Any,
    ) -> None:
        super().__init__(data_dir, cache_dir, protocol, seed, augmentation, **loading)
        require_positive(num_steps=num_steps, pixel_max=pixel_max)
        if num_classes > MOST_CLASSES:
            raise UserError(
                f"dataset.num_classes={num_classes} is more than {MOST_CLASSES:,}, which no data set here has"
            )
        if len(image_shape) != 3:
            raise UserError(f"dataset.image_shape is channels, height, width, got {list(image_shape)}")
        channels, height, width = image_shape
        self.image_shape = (channels, height, width)
        fixed, self.input_shape = encoded_shape(encoding, self.image_shape)
        if fixed is not None and num_steps != fixed:
            raise UserError(
                f"dataset.num_steps={num_steps}, but encoding={encoding} of {height} x {width} images makes "
                f"{fixed} steps"
            )
        if any(len(values) not in (1, channels) for values in (mean, std)) or any(value <= 0 for value in std):
            raise UserError(
                f"dataset.mean and dataset.std hold one number, or one for each of {channels} channels, and no std of 0"
            )
        if source != "imagenet" and damaged != "stop":
            raise UserError(
                f"dataset.damaged={damaged}, but {source} is read from whole files: fetch a broken one again"
            )
        if source == "imagenet" and channels != 3:
            raise UserError(f"dataset.image_shape={list(image_shape)}, but the images have 3 channels")
        self.source = source
        self.num_classes = num_classes
        self.class_names = CLASS_NAMES.get(source, tuple(map(str, range(num_classes))))
        self.num_steps = num_steps
        self.encoding = encoding
        self.pixel_max = pixel_max
        self.allow_partial = allow_partial
        self.damaged = damaged
        self.on_load = partial(_each_image, self.augmentation.on_load)
        self._order = pixel_order(height * width, permutation_seed) if encoding == "permuted_pixels" else None
        std_tensor = torch.tensor(std).view(-1, 1, 1)
        self._scale = 1 / (pixel_max * std_tensor)
        self._shift = -torch.tensor(mean).view(-1, 1, 1) / std_tensor

    def fitting(self, augmentation: Augmentation | EventAugmentation) -> Augmentation:
        if isinstance(augmentation, Augmentation):
            return augmentation
        raise UserError(f"this augmentation ({augmentation.describe()}) is for recordings of events, not for images")

    def read(self) -> dict[str, Samples]:
        if self.source == "imagenet":
            from snnrepro.data.image_folder import read_imagenet

            parts, self.facts, self.class_names = read_imagenet(
                self.data_dir,
                self.image_shape[1:],
                self.allow_partial,
                checked_in=self.cache_dir if self.damaged == "skip" else None,
            )
            return parts
        images = READERS[self.source](self.data_dir)
        train_x, train_y, test_x, test_y = (torch.from_numpy(array.copy()) for array in images)
        if tuple(train_x.shape[1:]) != self.image_shape:
            raise UserError(f"{self.source} holds images {tuple(train_x.shape[1:])}, expected {self.image_shape}")
        return {"train": ArraySamples(train_x, train_y), "test": ArraySamples(test_x, test_y)}

    def prepare(self, x: Tensor, y: Tensor, training: bool) -> Batch:
        """`[1, B, C, H, W]` uint8 -> `[T, B, *]` float; labels become `[B, K]` where images are mixed."""
        if self.encoding in ("rate", "latency", "latency_v1"):
            images = x[0].float() / self.pixel_max
        else:
            self._scale, self._shift = self._scale.to(x.device), self._shift.to(x.device)
            images = x[0].float().mul_(self._scale).add_(self._shift)
        if training:
            images, y = self.augmentation.on_device(images, y, self.num_classes)
        return self._encoded(images[None], training), y

    def _encoded(self, images: Tensor, training: bool) -> Tensor:
        match self.encoding:
            case "columns":
                return columns(images)
            case "rows":
                return rows(images)
            case "pixels" | "permuted_pixels":
                return pixels(images, self._order)
            case "latency":
                return latency(images, self.num_steps)
            case "latency_v1":
                return latency_v1(images * self.pixel_max, self.num_steps)
            case "rate":
                # Outside training the same draws for every batch and every epoch.
                generator = None if training else torch.Generator(images.device).manual_seed(self.split_seed)
                return rate(images, self.num_steps, generator)
        return repeat(images, self.num_steps)
