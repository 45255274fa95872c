"""Seeded, balanced choices of samples. Shapes: labels `[N]`, results are sorted index arrays."""

import numpy as np
from numpy.typing import NDArray

from snnrepro.errors import UserError

Indices = NDArray[np.int64]


def balanced_subset(labels: Indices, size: int, seed: int) -> Indices:
    """Indices of `size` samples with class counts as equal as the data allows (a class too small gives all it has).

    A smaller subset of the same seed is contained in a larger one. Raises UserError where size is not in 1..N.
    """
    if not 1 <= size <= len(labels):
        raise UserError(f"asked for {size} samples, there are {len(labels)}")
    generator = np.random.default_rng(seed)
    classes = generator.permutation(np.unique(labels))
    shuffled = [generator.permutation(np.flatnonzero(labels == c)) for c in classes]
    # Round robin: the r-th sample of every class, then the (r+1)-th.
    rank = np.concatenate([np.arange(len(members)) for members in shuffled])
    members = np.concatenate(shuffled)
    return np.sort(members[np.argsort(rank, kind="stable")[:size]])


def stratified_split(labels: Indices, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Split into (rest, held out), holding out `fraction` of every class, rounded; both sorted.

    Raises UserError where one side would be empty.
    """
    if not len(labels):
        raise UserError("there are no samples to split")
    generator = np.random.default_rng(seed)
    held = [
        generator.permutation(members)[: round(fraction * len(members))]
        for members in (np.flatnonzero(labels == c) for c in np.unique(labels))
    ]
    held_out = np.sort(np.concatenate(held))
    rest = np.setdiff1d(np.arange(len(labels)), held_out)
    if not len(rest) or not len(held_out):
        raise UserError(f"holding out {fraction:g} of {len(labels)} samples leaves one side empty")
    return rest, held_out
