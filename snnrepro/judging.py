"""From a claim to the runs that it needs, and from what was measured to its verdict."""

import math
from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from snnrepro.config.check import check
from snnrepro.config.compose import compose_job
from snnrepro.config.sections import spelled
from snnrepro.errors import UserError
from snnrepro.ledger.claims import Claim
from snnrepro.ledger.record import identity
from snnrepro.ledger.runs import Judged, Recorded, Records, Row
from snnrepro.ledger.verdicts import SMALLER, UNCOMMITTED, judge, metric_of, undecided_by


class Needed(NamedTuple):
    """A run of a claim: its words for train.py without the seed, where it is recorded, the experiment's own seed."""

    words: tuple[str, ...]
    place: str  # <group>/<neuron>-<hash8>
    first_seed: int


@lru_cache
def _needed(words: tuple[str, ...]) -> Needed:
    job = compose_job(list(words))
    check(job.config)
    group, neuron, _ = identity(job.config, job.choices)
    return Needed(words, f"{group}/{neuron}", int(job.config.seed))


def needed(claim: Claim, *, reduced: bool) -> list[Needed]:
    """The runs of a claim, a side each. Raises UserError, naming the claim, where they do not compose."""
    sides = []
    for run in claim.runs:
        words = [f"experiment={claim.experiment}", *(f"{key}={spelled(value)}" for key, value in run.items())]
        words += ["protocol=validated"] if claim.protocol == "validated" else []
        try:
            sides.append(_needed((*words, *(["scale=reduced"] if reduced else []))))
        except UserError as error:
            raise UserError(f"claim {claim.name}: {error}") from None
    return sides


# A run and its value of a claim's metric; a row of a benchmark and its.
Valued = list[tuple[Any, float]]


def judged(claim: Claim, records: Records, *, allow_dirty: bool = False) -> Judged:
    """The verdict on a claim by all that was measured. allow_dirty: runs from code with uncommitted changes decide too.

    Raises UserError, naming the claim, where its runs do not compose.
    """
    if claim.blocked:
        return Judged(claim, judge(claim, [], []), (), ())
    if claim.benchmark is not None:
        return _by_rows(claim, records, allow_dirty)
    if claim.experiment not in records.experiments:
        nothing: list[list[float]] = [[] for _ in claim.runs]
        return Judged(claim, judge(claim, nothing, nothing), (), ())
    sides = needed(claim, reduced=False)
    left_out: list[str] = []
    full, smaller = [], []
    for side in sides:
        found = _valued(claim, records, side)
        reasons = [undecided_by(run.record, claim, allow_dirty) for run, _ in found]
        full.append([pair for pair, reason in zip(found, reasons, strict=True) if reason is None])
        smaller.append([pair for pair, reason in zip(found, reasons, strict=True) if reason is not None])
        left_out += [reason for reason in reasons if reason is not None]
    if not all(smaller):
        smaller = [_valued(claim, records, side) for side in needed(claim, reduced=True)]
    result = _judged(claim, full, smaller, lambda run: undecided_by(run.record, claim, allow_dirty))
    if result.verdict.state == "not run" and not any(smaller):
        without = sum(len(completed(records, side)) for side in sides) - sum(map(len, full)) - len(left_out)
        if without:
            why = f"completed runs without {claim.metric}: {without}"
            return result._replace(verdict=result.verdict._replace(why=why))
    if result.verdict.state == "not run" and left_out:
        why = "; ".join(filter(None, (result.verdict.why, f"{len(left_out)} {_joined(left_out)} left out")))
        return result._replace(verdict=result.verdict._replace(why=why))
    return result


def _valued(claim: Claim, records: Records, side: Needed) -> Valued:
    """The runs of a side that have the claim's metric, by seed."""
    runs = sorted(records.by_place.get(side.place, {}).items())
    return [(run, value) for _, run in runs if (value := metric_of(run.record, claim)) is not None]


def _judged(claim: Claim, full: list[Valued], smaller: list[Valued], reason_of: Callable[[Any], str | None]) -> Judged:
    why = _joined([reason for side in smaller for one, _ in side if (reason := reason_of(one))])
    verdict = judge(claim, _values(full), _values(smaller), why or SMALLER)
    used = smaller if verdict.state == "reduced" else full
    behind = [one for side in used for one, _ in side]
    runs, rows = [one for one in behind if isinstance(one, Recorded)], [one for one in behind if isinstance(one, Row)]
    return Judged(claim, verdict, tuple(runs), tuple(rows))


def _values(sides: list[Valued]) -> list[list[float]]:
    return [[value for _, value in side] for side in sides]


def _by_rows(claim: Claim, records: Records, allow_dirty: bool) -> Judged:
    """One value a file of rows: of its row, or of the one that `over` says."""
    wanted = {column: value if isinstance(value, list) else [value] for column, value in claim.runs[0].items()}
    by_file: dict[Path, list[tuple[Row, float]]] = defaultdict(list)
    for row in records.rows.get(str(claim.benchmark), []):
        value = row.values.get(claim.metric)
        fits = all(row.values.get(column) in values for column, values in wanted.items())
        if fits and row.values.get("checked", True) and isinstance(value, float):
            by_file[row.file].append((row, value))
    full: Valued = []
    smaller: Valued = []
    reasons: dict[int, str | None] = {}  # by row, which holds a dict and so is no key itself
    for file, found in by_file.items():
        if len(found) > 1 and claim.over is None:
            raise UserError(f"claim {claim.name}: {len(found)} rows of {file.name} fit it; say `over`")
        found.sort(key=lambda pair: pair[1])
        one = found[{"max": -1, "min": 0}.get(str(claim.over), (len(found) - 1) // 2)]
        points = {tuple(row.values[column] for column in wanted) for row, _ in found}
        grid = math.prod(map(len, wanted.values()))
        why = f"{len(points)} of the {grid} points of its grid" if len(points) < grid else None
        why = why or _undecided_row(one[0], claim, allow_dirty)
        (full if why is None else smaller).append(one)
        reasons[id(one[0])] = why
    return _judged(claim, [full], [smaller], lambda row: reasons[id(row)])


def _undecided_row(row: Row, claim: Claim, allow_dirty: bool) -> str | None:
    device, commit = row.values.get("device_type"), str(row.values.get("commit"))
    if claim.device is not None and device != claim.device:
        return f"measured on {device or 'an unknown device'}, the claim is of {claim.device}"
    return UNCOMMITTED if commit.endswith("-dirty") and not allow_dirty else None


def _joined(reasons: list[str]) -> str:
    return ", ".join(dict.fromkeys(reasons))


def completed(records: Records, side: Needed) -> set[int]:
    """Seeds of a side that are done."""
    return {seed for seed, run in records.by_place.get(side.place, {}).items() if run.record["status"] == "completed"}
