"""What every data set gives: loaders of whole batches, honest splits, an order that is a function of (seed, epoch).

Shapes: a batch is x `[T', B, *]` in the smallest exact dtype (T' = 1 for a still image before its encoding), y `[B]`;
after `prepare`, on the device, x is float `[T, B, *]`.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from snnrepro.data.augment import Augmentation
from snnrepro.data.event_augment import EventAugmentation
from snnrepro.data.samples import Batch, Chosen, EpochBatches, Samples
from snnrepro.data.splits import Indices, balanced_subset, stratified_split
from snnrepro.errors import UserError, require_positive
from snnrepro.place import ALONE
from snnrepro.types import Fraction, NonNegativeInt, PositiveInt


def usable_cores() -> int:
    """Cores that this process may run on: fewer than the machine's under a cluster's scheduler."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class DataModule(L.LightningDataModule):
    """Base of all data sets. `num_steps`, `input_shape` (without T and B), `num_classes` describe what a network sees.

    protocol `validated`: validation is carved from train by `split_seed`; `paper`: the whole train set, and the test
    set after every epoch. Once `setup` has run, `splits` holds the sample counts and `facts` what else the record says
    of the data. train_samples: a seeded, balanced subset of the training samples (default: all). drop_last: the last
    batch of an epoch, where it is not full; drop_last_test: that of the test set too, which then has fewer samples, as
    the record says. num_workers: loader processes (default: as many as pay). epochs: what trainer.max_epochs is where
    nobody sets it. batch_size is of the whole run: of `process.world` processes each has its part of every batch.
    Raises UserError for data that is missing or damaged and for sizes that do not fit it.
    """

    num_steps: int
    input_shape: tuple[int, ...]
    num_classes: int
    class_names: tuple[str, ...]
    source: str
    allow_partial: bool

    def __init__(
        self,
        data_dir: str,
        cache_dir: str,
        protocol: str,
        seed: int,
        augmentation: Augmentation | EventAugmentation,
        *,
        batch_size: PositiveInt = 128,
        train_samples: PositiveInt | None = None,
        validation_fraction: Fraction = 0.1,
        split_seed: NonNegativeInt = 0,
        drop_last: bool = False,
        drop_last_test: bool = False,
        num_workers: NonNegativeInt | None = None,
        epochs: PositiveInt = 30,
    ) -> None:
        super().__init__()
        require_positive(batch_size=batch_size, epochs=epochs)
        self.data_dir = Path(data_dir).expanduser()
        self.cache_dir = Path(cache_dir).expanduser()
        self.protocol = protocol
        self.seed = seed
        self.augmentation = self.fitting(augmentation)
        self.batch_size = batch_size
        self.train_samples = train_samples
        self.validation_fraction = validation_fraction
        self.split_seed = split_seed
        self.drop_last = drop_last
        self.drop_last_test = drop_last_test
        self.epoch = 0  # of the batch that `prepare` is given
        self.num_workers = num_workers
        self.splits: dict[str, int] = {}
        self.facts: dict[str, Any] = {}
        self.process = ALONE
        self.first_batch = 0  # of the first epoch that is trained, where a run goes on within one
        self._train_batches: EpochBatches | None = None
        self.on_load: Callable[[Tensor], Tensor] | None = None  # what training samples pass through in the loader
        self._datasets: dict[str, Chosen] = {}

    def fitting(self, augmentation: Augmentation | EventAugmentation) -> Any:
        """The augmentation, where it is of the data set's kind. Raises UserError where it is not."""
        raise NotImplementedError

    def read(self) -> dict[str, Samples]:
        """The samples of `train`, `test` and, where the data set names its own, `validation`."""
        raise NotImplementedError

    def prepare(self, x: Tensor, y: Tensor, training: bool) -> Batch:
        """On the device: cast, normalise, augment where training, encode over time."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Read the data once and choose its splits."""
        if self._datasets:
            return
        parts = self.read()
        for part, samples in parts.items():
            if not len(samples):
                raise UserError(f"the {part} set holds no sample")
            if (largest := int(samples.labels.max())) >= self.num_classes:
                raise UserError(f"dataset.num_classes={self.num_classes}, but the labels run to {largest}")
        train, test = parts["train"], parts["test"]
        held_samples, chosen, held = self._validation(train, parts.get("validation"), test)
        labels = train.labels.numpy()
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
        if self.drop_last_test and self.batch_size > len(test):
            raise UserError(
                f"dataset.drop_last_test=true and dataset.batch_size={self.batch_size} leave none of the {len(test):,} "
                "test samples: lower the batch size"
            )
        if self.batch_size < self.process.world:
            raise UserError(
                f"dataset.batch_size={self.batch_size} is for all {self.process.world} processes: raise it, or lower "
                "trainer.devices"
            )
        self._datasets = {
            "train": Chosen(train, chosen, True, self.on_load),
            "validation": Chosen(held_samples, held, False),
            "test": Chosen(test, np.arange(len(test)), False),
        }
        for split, chosen_samples in self._datasets.items():
            if len(chosen_samples) < self.process.world:
                raise UserError(
                    f"the {split} set holds {len(chosen_samples)} samples for {self.process.world} processes: lower "
                    "trainer.devices"
                )
        self.splits = {
            "train": len(chosen),
            "train_available": available,
            "validation": 0 if self.protocol == "paper" else len(held),
            "test": len(test),
        }

    def _validation(self, train: Samples, official: Samples | None, test: Samples) -> tuple[Samples, Indices, Indices]:
        """What is looked at after every epoch: its samples, the rows left to train on, the rows held out."""
        everything = np.arange(len(train))
        if self.protocol == "paper":
            return test, everything, np.arange(len(test))
        if official is not None:
            return official, everything, np.arange(len(official))
        if train is test:  # a partial data set of one part: nothing can be held out honestly
            return train, everything, everything
        if not 0 < self.validation_fraction < 1:
            raise UserError(
                f"dataset.validation_fraction must lie between 0 and 1, got {self.validation_fraction:g}; "
                "protocol=paper trains without validation"
            )
        rest, held = stratified_split(train.labels.numpy(), self.validation_fraction, self.split_seed)
        return train, rest, held

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
            of_process = f"/{self.process.rank}" if self.process.rank else ""
            digest = hashlib.sha256(f"{self.seed}/{self.trainer.global_step}{of_process}".encode()).digest()
            torch.manual_seed(int.from_bytes(digest[:8], "big"))
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        x, y = batch
        if self.trainer is not None:
            self.epoch = self.trainer.current_epoch
        return self.prepare(x, y, training=self.trainer is not None and self.trainer.training)

    def _loader(self, split: str) -> DataLoader[Batch]:
        training = split == "train"
        dataset = self._datasets[split]
        workers = self._workers(training, dataset.samples.per_sample)
        batches = EpochBatches(
            len(dataset),
            self.batch_size,
            shuffle=training,
            drop_last=self.drops_last(split),
            seed=self.seed,
            part=(self.process.rank, self.process.world),
        )
        if training:
            self._train_batches = batches
            if self.trainer is not None:
                # Loader processes fetch ahead, in a resumed run before Lightning says which epoch it is.
                progress: Any = self.trainer.fit_loop.epoch_progress.current
                batches.set_epoch(progress.processed)
                batches.first = self.first_batch
        return DataLoader(
            dataset,
            sampler=batches,  # a sampler of whole batches: batch_size=None
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            # In a process of joblib's the default is joblib's own way to start processes, which a loader cannot use.
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
            pin_memory=torch.cuda.is_available(),
            # Its own, or every epoch's start would draw from the global generator.
            generator=torch.Generator().manual_seed(self.seed),
        )

    def weight_of_batch(self, batch_idx: int) -> float:
        """See snnrepro.data.samples.EpochBatches.weight_of; of the training batches, once there is a loader of them."""
        return 1.0 if self._train_batches is None else self._train_batches.weight_of(batch_idx)

    def drops_last(self, split: str) -> bool:
        """Whether a last batch that is not full is left out. Under protocol paper `validation` is the test set."""
        if split == "train":
            return self.drop_last
        return self.drop_last_test and (split == "test" or self.protocol == "paper")

    def _workers(self, training: bool, per_sample: bool) -> int:
        """Loader processes: as told, else none where a batch is one copy, else one a spare core, at most 8."""
        if not (training or per_sample):
            return 0
        if self.num_workers is not None:
            return self.num_workers
        costly = per_sample or self.augmentation.per_image
        return min(8, max(1, usable_cores() // self.process.beside - 1)) if costly else 0
