"""What every data set gives: loaders of whole batches, honest splits, an order that is a function of (seed, epoch).

Shapes: a batch is x `[T', B, *]` in the smallest exact dtype (T' = 1 for a still image before its encoding), y `[B]`;
after `prepare`, on the device, x is float `[T, B, *]`.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from snnrepro.data.augment import Augmentation
from snnrepro.data.splits import Indices, balanced_subset, stratified_split
from snnrepro.errors import UserError, require_positive

Batch = tuple[Tensor, Tensor]
Request = tuple[Tensor, int]  # which samples, and the seed of the draws made for them


def usable_cores() -> int:
    """Cores that this process may run on: fewer than the machine's under a cluster's scheduler."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class EpochBatches(Sampler[Request]):
    """Batches of indices whose order, and the seeds of their draws, depend on (seed, epoch) only."""

    def __init__(self, size: int, batch_size: int, *, shuffle: bool, drop_last: bool, seed: int) -> None:
        self.size, self.batch_size, self.shuffle, self.drop_last, self.seed = (
            size,
            batch_size,
            shuffle,
            drop_last,
            seed,
        )
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size // self.batch_size if self.drop_last else -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[Request]:
        generator = np.random.default_rng([self.seed, self.epoch])
        order = generator.permutation(self.size) if self.shuffle else np.arange(self.size)
        for i in range(len(self)):
            chosen = order[i * self.batch_size : (i + 1) * self.batch_size]
            yield torch.from_numpy(chosen), int(generator.integers(2**63))


class ArrayDataset(Dataset[Batch]):
    """Samples of one array in memory, fetched a batch at a time: x `[N, *]` -> `[1, B, *]`."""

    def __init__(self, x: Tensor, y: Tensor, chosen: Indices, transform: Callable[[Tensor], Tensor] | None) -> None:
        self.x, self.y, self.chosen, self.transform = x, y, torch.from_numpy(chosen), transform

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, request: Request) -> Batch:
        which, seed = request
        rows = self.chosen[which]
        x = self.x[rows]
        if self.transform is not None:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                x = self.transform(x)
        return x[None], self.y[rows]


class DataModule(L.LightningDataModule):
    """Base of all data sets. `num_steps`, `input_shape` (without T and B), `num_classes` describe what a network sees.

    protocol `validated`: validation is carved from train by `split_seed`; `paper`: the whole train set, and the test
    set after every epoch. `splits` holds the sample counts once `setup` has run.
    Raises UserError for data that is missing or damaged and for sizes that do not fit it.
    """

    num_steps: int
    input_shape: tuple[int, ...]
    num_classes: int

    def __init__(
        self,
        data_dir: str,
        cache_dir: str,
        protocol: str,
        seed: int,
        augmentation: Augmentation,
        *,
        batch_size: int,
        train_samples: int | None,
        validation_fraction: float,
        split_seed: int,
        drop_last: bool,
        num_workers: int | None,
        epochs: int,
    ) -> None:
        super().__init__()
        require_positive(batch_size=batch_size, epochs=epochs)
        self.data_dir = Path(data_dir).expanduser()
        self.cache_dir = Path(cache_dir).expanduser()
        self.protocol = protocol
        self.seed = seed
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.train_samples = train_samples
        self.validation_fraction = validation_fraction
        self.split_seed = split_seed
        self.drop_last = drop_last
        self.num_workers = num_workers
        self.splits: dict[str, int] = {}
        self._datasets: dict[str, ArrayDataset] = {}

    def read(self) -> tuple[Batch, Batch]:
        """The whole train and test sets as arrays `[N, *]`, labels `[N]`."""
        raise NotImplementedError

    def prepare(self, x: Tensor, y: Tensor, training: bool) -> Batch:
        """On the device: cast, normalise, augment where training, encode over time."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Read the data once and choose its splits."""
        if self._datasets:
            return
        train, test = self.read()
        labels = train[1].numpy()
        largest = max(int(train[1].max()), int(test[1].max()))
        if largest >= self.num_classes:
            raise UserError(f"dataset.num_classes={self.num_classes}, but the labels run to {largest}")
        chosen, everything = np.arange(len(labels)), np.arange(len(test[1]))
        parts = {"test": (test, everything), "validation": (test, everything)}
        if self.protocol == "validated":
            if not 0 < self.validation_fraction < 1:
                raise UserError(
                    f"dataset.validation_fraction must lie between 0 and 1, got {self.validation_fraction:g}; "
                    "protocol=paper trains without validation"
                )
            chosen, held_out = stratified_split(labels, self.validation_fraction, self.split_seed)
            parts["validation"] = (train, held_out)
        available = len(chosen)
        if self.train_samples is not None:
            if self.train_samples > available:
                raise UserError(
                    f"dataset.train_samples={self.train_samples} is more than the {available:,} training samples"
                )
            chosen = chosen[balanced_subset(labels[chosen], self.train_samples, self.split_seed)]
        if self.batch_size > len(chosen):
            raise UserError(
                f"dataset.batch_size={self.batch_size} is larger than the {len(chosen):,} training samples: lower it"
            )
        self._datasets = {name: ArrayDataset(*data, rows, None) for name, (data, rows) in parts.items()}
        self._datasets["train"] = ArrayDataset(*train, chosen, self.augmentation.on_load)
        self.splits = {
            "train": len(chosen),
            "train_available": available,
            "validation": 0 if self.protocol == "paper" else len(parts["validation"][1]),
            "test": len(everything),
        }

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation under `validated`; the test set, as the papers do, under `paper`."""
        return self._loader("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader("test")

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """A training step's draws (mixing, dropout) depend on (seed, step) only, so that a resumed run repeats them."""
        if self.trainer is not None and self.trainer.training:
            digest = hashlib.sha256(f"{self.seed}/{self.trainer.global_step}".encode()).digest()
            torch.manual_seed(int.from_bytes(digest[:8], "big"))
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        x, y = batch
        return self.prepare(x, y, training=self.trainer is not None and self.trainer.training)

    def _loader(self, split: str) -> DataLoader[Batch]:
        training = split == "train"
        workers = self._workers() if training else 0
        dataset = self._datasets[split]
        batches = EpochBatches(
            len(dataset),
            self.batch_size,
            shuffle=training,
            drop_last=training and self.drop_last,
            seed=self.seed,
        )
        return DataLoader(
            dataset,
            sampler=batches,  # a sampler of whole batches: batch_size=None
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Its own, or every epoch's start would draw from the global generator.
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _workers(self) -> int:
        """Loader processes: as told, else none where a batch is one copy, else one a spare core, at most 8."""
        if self.num_workers is not None:
            return self.num_workers
        return min(8, max(1, usable_cores() - 1)) if self.augmentation.per_image else 0
