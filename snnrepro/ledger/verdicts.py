"""What measured values say of a claim. The rule is the same for all claims:

    blocked           the claim says that it cannot be run, and why
    not run           a side has fewer than min_seeds full runs with the metric, and there is no reduced one either
    reduced           instead every side was measured in a way that decides nothing: at scale=reduced, on a partial data
                      set, on part of a benchmark's grid, from code with uncommitted changes or of no known commit; of a
                      time, on another kind of device than the claim's or while the spikes of training were counted
    reproduced        the mean over seeds, the difference or ratio of the means, lies within `tolerance` of the paper's
                      value; of a ranking, every run's mean leads the next one's by more than `tolerance`
    not reproduced    it does not; a value far better than the paper's is not reproduced either
    holds,            the same of a claim carried over to a smaller experiment (its `of` names the paper's): it says
    does not hold     something of that experiment, nothing of the paper's figure
    undecided         of a lead: neither side is ahead by more than seeds differ

A lead holds where the 95 % interval of the difference of the means (Welch's t, unequal variances, which of three seeds
a side is wide) lies above 0, does not hold where it lies below, and is undecided where it contains 0.

Only completed runs of the claim's own protocol count, found by their identity: the same experiment version, config, T
and data. Every other interval is a bootstrap over seeds; it does not decide.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from snnrepro.ledger.claims import Claim
from snnrepro.ledger.statistics import Bounds, bootstrap, welch

CARRIED = {"reproduced": "holds", "not reproduced": "does not hold"}
UNDECIDED = "undecided"
STATES = ("reproduced", "not reproduced", *CARRIED.values(), UNDECIDED, "reduced", "not run", "blocked")

ROUNDING = 1e-12
SMALLER = "run at a smaller scale, which decides nothing"
UNCOMMITTED = "run from code with uncommitted changes"
UNKNOWN_CODE = "run from code of no known commit"
SLOWED = "timed while the spikes of training were counted"


class Verdict(NamedTuple):
    """state as above; ours: what was measured (of a ranking the mean of every side); seeds: fewest of a side; why;
    interval: 95 % of what was measured, None of a ranking and where a side has one seed.
    """

    state: str
    ours: tuple[float, ...]
    seeds: int
    why: str
    interval: Bounds | None = None


def judge(
    claim: Claim,
    full: Sequence[Sequence[float]],
    reduced: Sequence[Sequence[float]],
    why_reduced: str = SMALLER,
) -> Verdict:
    """The verdict on a claim. full, reduced: for every side the metric's values over seeds, that decide and do not."""
    if claim.blocked:
        return Verdict("blocked", (), 0, claim.blocked)
    seeds = min(map(len, full))
    if seeds >= claim.min_seeds:
        ours = measured(claim, full)
        if ours is None:
            return Verdict("not run", (), seeds, "the runs to divide by are 0")
        interval = interval_of(claim, full)
        return Verdict(_decided(claim, ours, interval), ours, seeds, "", interval)
    if (few := min(map(len, reduced))) and (ours := measured(claim, reduced)) is not None:
        return Verdict("reduced", ours, few, why_reduced, interval_of(claim, reduced))
    return Verdict("not run", (), seeds, f"{seeds} of {claim.min_seeds} seeds" if seeds else "")


STATISTICS: dict[str, Callable[..., Any]] = {
    "value": lambda mean: mean,
    "difference": lambda mean, against: mean - against,
    "ratio": lambda mean, against: mean / against,
    "lead": lambda mean, against: mean - against,
}


def measured(claim: Claim, values: Sequence[Sequence[float]]) -> tuple[float, ...] | None:
    """What a claim is about: a number, of a ranking one a side; None where it would divide by 0."""
    means = [statistics.fmean(side) for side in values]
    if claim.kind == "ranking":
        return tuple(means)
    return None if claim.kind == "ratio" and not means[1] else (STATISTICS[claim.kind](*means),)


def interval_of(claim: Claim, values: Sequence[Sequence[float]]) -> Bounds | None:
    """The 95 % interval of what a claim is about; None of a ranking."""
    if claim.kind == "lead":
        return welch(*values)
    return None if claim.kind == "ranking" else bootstrap(values, STATISTICS[claim.kind])


def _decided(claim: Claim, ours: tuple[float, ...], interval: Bounds | None) -> str:
    if claim.kind == "lead":
        if interval is None or interval[0] <= 0 <= interval[1]:
            return UNDECIDED
        holds = interval[0] > 0
    else:
        holds = _holds(claim, ours)
    state = "reproduced" if holds else "not reproduced"
    return CARRIED[state] if claim.of else state


def _holds(claim: Claim, ours: tuple[float, ...]) -> bool:
    # What decimal figures differ by is not exact in binary.
    if claim.value is None:
        return all(better - worse > claim.tolerance + ROUNDING for better, worse in itertools.pairwise(ours))
    return abs(ours[0] - claim.value) <= claim.tolerance + ROUNDING


def metric_of(record: Mapping[str, Any], claim: Claim) -> float | None:
    """A completed run's value of the claim's metric under the claim's protocol, else None."""
    if record.get("status") != "completed" or record.get("protocol") != claim.protocol:
        return None
    value = (record.get("metrics") or {}).get(claim.metric)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def undecided_by(record: Mapping[str, Any], claim: Claim, allow_dirty: bool = False) -> str | None:
    """Why a completed run decides nothing on a claim; None for one that does."""
    if is_reduced(record):
        return SMALLER
    if claim.device is not None and (device := (record.get("device") or {}).get("type")) != claim.device:
        return f"measured on {device or 'an unknown device'}, the claim is of {claim.device}"
    measured_beside = (record.get("config") or {}).get("measure") or {}
    if claim.device is not None and measured_beside.get("training_spikes"):
        return SLOWED
    dirty = (record.get("git") or {}).get("dirty")
    return None if allow_dirty or dirty is False else UNCOMMITTED if dirty else UNKNOWN_CODE


def is_reduced(record: Mapping[str, Any]) -> bool:
    """Whether a run is of a smaller scale than its experiment: scale=reduced, or a data set that is not whole."""
    return bool(record.get("reduced") or (record.get("data") or {}).get("partial"))
