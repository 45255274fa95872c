"""Samples as they lie in memory or on disk, fetched a batch at a time.

Shapes: a batch x is `[T', B, *]` in the smallest exact dtype (T' = 1 for a still image before its encoding), y `[B]`.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from snnrepro.data.cache import Packed
from snnrepro.data.splits import Indices

Batch = tuple[Tensor, Tensor]
Request = tuple[Tensor, int]  # which samples, and the seed of the draws made for them


class Samples:
    """All samples of a part: `labels` `[N]`, and `fetch`, which gives those of the rows asked for, `[T', B, *]`.

    per_sample: whether fetching costs work for every single sample, so that loader processes pay.
    """

    labels: Tensor
    per_sample = False

    def __len__(self) -> int:
        return len(self.labels)

    def fetch(self, rows: Tensor, training: bool) -> Tensor:
        raise NotImplementedError


class ArraySamples(Samples):
    """Samples of one array in memory: x `[N, *]`, fetched as `[1, B, *]`."""

    def __init__(self, x: Tensor, labels: Tensor) -> None:
        self.x, self.labels = x, labels

    def fetch(self, rows: Tensor, training: bool) -> Tensor:
        return self.x[rows][None]


class PackedSamples(Samples):
    """Frames of an opened cache, fetched as `[T, B, *]`."""

    def __init__(self, packed: Packed) -> None:
        self.packed = packed
        self.labels = torch.from_numpy(packed.labels.copy())

    def fetch(self, rows: Tensor, training: bool) -> Tensor:
        return torch.from_numpy(self.packed.batch(rows.numpy()))


class EpochBatches(Sampler[Request]):
    """Batches of indices whose order, and the seeds of their draws, depend on (seed, epoch) only.

    part: (rank, world) of a run in several processes: each has every world-th sample of a batch, so that together they
    have each once. In training (shuffle) one that would have none takes the batch's first, to join in the step.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        shuffle: bool,
        drop_last: bool,
        seed: int,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.size, self.batch_size, self.shuffle, self.drop_last = size, batch_size, shuffle, drop_last
        self.seed, self.part = seed, part
        self.epoch = 0
        self.first = 0  # the batch with which the next epoch begins

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of every epoch."""
        self.epoch = epoch

    @property
    def _batches(self) -> int:
        return self.size // self.batch_size if self.drop_last else -(-self.size // self.batch_size)

    def __len__(self) -> int:
        return self._batches - (not self.shuffle and self.samples_of(self._batches - 1) == 0)

    def samples_of(self, batch: int, rank: int | None = None) -> int:
        """How many samples of this batch a process has, or that of `rank`: 0 where there are fewer than processes."""
        rank, world = self.part[0] if rank is None else rank, self.part[1]
        return len(range(batch * self.batch_size, min((batch + 1) * self.batch_size, self.size))[rank::world])

    def weight_of(self, batch: int) -> float:
        """What the mean over this process's samples of a batch weighs in the mean over processes: 1 for equal parts."""
        world = self.part[1]
        return self.samples_of(batch) * world / sum(self.samples_of(batch, rank) for rank in range(world))

    def __iter__(self) -> Iterator[Request]:
        generator = np.random.default_rng([self.seed, self.epoch])
        order = generator.permutation(self.size) if self.shuffle else np.arange(self.size)
        rank, world = self.part
        first, self.first = self.first, 0
        for i in range(self._batches):
            batch = order[i * self.batch_size : (i + 1) * self.batch_size]
            seeds = [int(generator.integers(2**63)) for _ in range(world)]
            chosen = batch[rank::world]
            if not len(chosen) and self.shuffle:
                chosen = batch[:1]
            if len(chosen) and i >= first:
                yield torch.from_numpy(chosen), seeds[rank]


class Chosen(Dataset[Batch]):
    """The chosen rows of some samples; those of training pass through `transform` with draws of the batch's seed."""

    def __init__(
        self, samples: Samples, rows: Indices, training: bool, transform: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.samples, self.training, self.transform = samples, training, transform
        self.rows = torch.from_numpy(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, request: Request) -> Batch:
        which, seed = request
        rows = self.rows[which]
        if not self.training:
            return self.samples.fetch(rows, False), self.samples.labels[rows]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            x = self.samples.fetch(rows, True)
            return x if self.transform is None else self.transform(x), self.samples.labels[rows]
