"""Still images, shown again at every step or column by column.

Shapes: in memory `[N, C, H, W]` uint8; batches `[1, B, C, H, W]` uint8; on the device `[T, B, C, H, W]` (repeat) or
`[W, B, C, H]` (columns), float.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from snnrepro.data.augment import Augmentation
from snnrepro.data.datamodule import Batch, DataModule
from snnrepro.data.encoding import columns, repeat
from snnrepro.data.image_files import READERS
from snnrepro.errors import UserError, require_positive
from snnrepro.types import Fraction, NonNegativeInt, PositiveFloat, PositiveInt


class ImageDataModule(DataModule):
    """An image data set read from its official files (snnrepro.data.image_files).

    image_shape: C, H, W. encoding: `repeat` (the image at each of num_steps steps) or `columns` (one column a step,
    num_steps = W). pixel_max: the value that stands for 1. mean, std: of each channel, after division by pixel_max.
    train_samples: a seeded, balanced subset (default: all). epochs: what trainer.max_epochs is where nobody sets it.
    """

    def __init__(
        self,
        data_dir: str,
        cache_dir: str,
        protocol: str,
        seed: int,
        augmentation: Augmentation,
        *,
        source: Literal["digits", "mnist", "fashion_mnist", "cifar10"],
        image_shape: Sequence[PositiveInt],
        num_classes: PositiveInt,
        num_steps: PositiveInt,
        encoding: Literal["repeat", "columns"] = "repeat",
        pixel_max: PositiveFloat = 255.0,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        batch_size: PositiveInt = 128,
        train_samples: PositiveInt | None = None,
        validation_fraction: Fraction = 0.1,
        split_seed: NonNegativeInt = 0,
        drop_last: bool = False,
        num_workers: NonNegativeInt | None = None,
        epochs: PositiveInt = 30,
    ) -> None:
        super().__init__(
            data_dir,
            cache_dir,
            protocol,
            seed,
            augmentation,
            batch_size=batch_size,
            train_samples=train_samples,
            validation_fraction=validation_fraction,
            split_seed=split_seed,
            drop_last=drop_last,
            num_workers=num_workers,
            epochs=epochs,
        )
        require_positive(num_steps=num_steps, pixel_max=pixel_max)
        if len(image_shape) != 3:
            raise UserError(f"dataset.image_shape is channels, height, width, got {list(image_shape)}")
        channels, height, width = image_shape
        if encoding == "columns" and num_steps != width:
            raise UserError(
                f"dataset.num_steps={num_steps}, but one column a step makes {width} steps of images {width} wide"
            )
        if any(len(values) not in (1, channels) for values in (mean, std)) or any(value <= 0 for value in std):
            raise UserError(
                f"dataset.mean and dataset.std hold one number, or one for each of {channels} channels, and no std of 0"
            )
        self.source = source
        self.image_shape = (channels, height, width)
        self.num_classes = num_classes
        self.num_steps = num_steps
        self.encoding = encoding
        self.input_shape = (channels, height) if encoding == "columns" else self.image_shape
        std_tensor = torch.tensor(std).view(-1, 1, 1)
        self._scale = 1 / (pixel_max * std_tensor)
        self._shift = -torch.tensor(mean).view(-1, 1, 1) / std_tensor

    def read(self) -> tuple[Batch, Batch]:
        images = READERS[self.source](self.data_dir)
        train_x, train_y, test_x, test_y = (torch.from_numpy(array.copy()) for array in images)
        if tuple(train_x.shape[1:]) != self.image_shape:
            raise UserError(f"{self.source} holds images {tuple(train_x.shape[1:])}, expected {self.image_shape}")
        return (train_x, train_y), (test_x, test_y)

    def prepare(self, x: Tensor, y: Tensor, training: bool) -> Batch:
        """`[1, B, C, H, W]` uint8 -> `[T, B, *]` float; labels become `[B, K]` where images are mixed."""
        self._scale, self._shift = self._scale.to(x.device), self._shift.to(x.device)
        images = x[0].float().mul_(self._scale).add_(self._shift)
        if training:
            images, y = self.augmentation.on_device(images, y, self.num_classes)
        images = images[None]
        return (columns(images) if self.encoding == "columns" else repeat(images, self.num_steps)), y
