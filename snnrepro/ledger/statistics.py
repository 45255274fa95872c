"""Means over seeds, and how far they can be trusted."""

from collections.abc import Callable, Sequence
from typing import Any

RESAMPLES = 10_000
CONFIDENCE = 0.95

Bounds = tuple[float, float]


def bootstrap(sides: Sequence[Sequence[float]], statistic: Callable[..., Any] = lambda mean: mean) -> Bounds | None:
    """The 95 % percentile interval of a statistic of the sides' means, each side resampled over its own seeds.

    statistic: of one mean a side, as arrays. The same for the same values: the draws are seeded. None where a side has
    fewer than two values, or a resample gives nothing finite, such as a ratio to 0. With few seeds the interval says
    too little: over three values it is about their smallest and largest, and it covers the true mean less often than
    95 times in 100.
    """
    if any(len(side) < 2 for side in sides):
        return None
    import numpy as np

    generator = np.random.default_rng(0)
    drawn = [np.asarray(side, dtype=float)[generator.integers(0, len(side), (RESAMPLES, len(side)))] for side in sides]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = statistic(*(values.mean(1) for values in drawn))
    if not np.isfinite(found).all():
        return None
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(found, [tail, 100 - tail])
    return float(low), float(high)


def welch(one: Sequence[float], other: Sequence[float]) -> Bounds | None:
    """The 95 % interval of mean(one) - mean(other) by Welch's t, for samples of unequal variances.

    None where either has fewer than two values. Welch, Biometrika 34 (1947).
    """
    if min(len(one), len(other)) < 2:
        return None
    from scipy import stats

    if len(set(one)) == len(set(other)) == 1:  # nothing differs: no t
        return one[0] - other[0], one[0] - other[0]
    found = stats.ttest_ind(one, other, equal_var=False).confidence_interval(CONFIDENCE)
    return float(found.low), float(found.high)
