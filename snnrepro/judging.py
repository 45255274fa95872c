"""From a claim to the runs that it needs, and from what was measured to its verdict."""

import math
from collections import defaultdict
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from snnrepro.config.allowed import check_key
from snnrepro.config.compose import compose_job
from snnrepro.config.sections import spelled
from snnrepro.errors import UserError
from snnrepro.ledger.claims import Claim
from snnrepro.ledger.claims_table import side as side_name
from snnrepro.ledger.record import config_hash, identity
from snnrepro.ledger.runs import Judged, Record, Recorded, Records, Row
from snnrepro.ledger.verdicts import SMALLER, UNCOMMITTED, UNKNOWN_CODE, judge, metric_of, undecided_by


class Needed(NamedTuple):
    """A run of a claim: its words for train.py without the seed, where it is recorded, the experiment's own seed."""

    words: tuple[str, ...]
    place: str  # <group>/<neuron>-<hash8>
    first_seed: int


@cache
def _needed(words: tuple[str, ...]) -> Needed:
    job = compose_job(list(words))
    group, neuron, _ = identity(job.config, job.choices)
    return Needed(words, f"{group}/{neuron}", int(job.config.seed))


def needed(claim: Claim, *, reduced: bool) -> list[Needed]:
    """The runs of a claim, a side each. reduced: its experiment's small version; what is carried over has none.

    Raises UserError, naming the claim, where they do not compose.
    """
    reduced = reduced and not claim.of
    sides = []
    for run in claim.runs:
        try:
            for key in run:
                check_key(key, "its run")
            words = [f"experiment={claim.experiment}", *(f"{key}={spelled(value)}" for key, value in run.items())]
            words += ["protocol=validated"] if claim.protocol == "validated" else []
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
    why = partial(_why_undecided, claim=claim, allow_dirty=allow_dirty)
    left_out: list[str] = []
    full, smaller = [], []
    for side in sides:
        found = _valued(claim, records, side, why)
        reasons = [why(run.record) for run, _ in found]
        full.append([pair for pair, reason in zip(found, reasons, strict=True) if reason is None])
        smaller.append([pair for pair, reason in zip(found, reasons, strict=True) if reason is not None])
        left_out += [reason for reason in reasons if reason is not None]
    if not all(smaller) and not claim.of:
        smaller = [_valued(claim, records, side, why) for side in needed(claim, reduced=True)]
    result = _judged(claim, full, smaller, lambda run: why(run.record))
    if result.verdict.state == "not run" and not any(smaller):
        without = sum(len(completed(records, side)) for side in sides) - sum(map(len, full)) - len(left_out)
        if without:
            return _saying(result, f"completed runs without {claim.metric}: {without}")
    if result.verdict.state == "not run" and left_out:
        return _saying(result, result.verdict.why, f"left out: {len(left_out)} {_joined(left_out)}")
    if result.verdict.state == "not run" and len(full) > 1 and any(full):
        lacking = [
            f"{side_name(run)} {len(side)} of {claim.min_seeds}"
            for run, side in zip(claim.runs, full, strict=True)
            if len(side) < claim.min_seeds
        ]
        return _saying(result, f"seeds: {', '.join(lacking)}")
    return result


def _why_undecided(record: Record, *, claim: Claim, allow_dirty: bool) -> str | None:
    """As `undecided_by`; nor does a record decide whose config is not the one that its identity is the hash of."""
    place, _, seed = str(record["identity"]).rpartition("/seed")
    if place.rpartition("-")[2] != config_hash(record["config"]) or record["config"].get("seed") != int(seed):
        return "its config is not that of its identity"
    return undecided_by(record, claim, allow_dirty)


def _valued(claim: Claim, records: Records, side: Needed, why: Callable[[Record], str | None]) -> Valued:
    """The runs of a side that have the claim's metric, one a seed: one that decides before one that does not."""
    found: Valued = []
    for _, alike in sorted(records.by_place.get(side.place, {}).items()):
        having = [(run, value) for run in alike if (value := metric_of(run.record, claim)) is not None]
        having.sort(key=lambda pair: why(pair[0].record) is not None)
        found += having[:1]
    return found


def _saying(result: Judged, *reasons: str) -> Judged:
    return result._replace(verdict=result.verdict._replace(why="; ".join(filter(None, reasons))))


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
    """One value: that of the row asked for, or of the one that `over` says, in the first file whose rows decide.

    Rows of several machines or commits are never put together, and have no interval over seeds.
    """
    wanted = {column: value if isinstance(value, list) else [value] for column, value in claim.runs[0].items()}
    by_source: dict[tuple[Path, Any, Any], list[tuple[Row, float]]] = defaultdict(list)
    for row in records.rows.get(str(claim.benchmark), []):
        value = row.values.get(claim.metric)
        fits = all(row.values.get(column) in values for column, values in wanted.items())
        if fits and row.values.get("checked", True) and isinstance(value, float):
            by_source[row.file, row.values.get("device"), row.values.get("commit")].append((row, value))
    candidates: list[tuple[str | None, tuple[Row, float]]] = []
    for (file, *_), found in by_source.items():
        if len(found) > 1 and claim.over is None:
            raise UserError(f"claim {claim.name}: {len(found)} rows of {file.name} fit it; say `over`")
        found.sort(key=lambda pair: pair[1])
        one = found[{"max": -1, "min": 0}.get(str(claim.over), (len(found) - 1) // 2)]
        points = len({tuple(row.values[column] for column in wanted) for row, _ in found})
        grid = math.prod(map(len, wanted.values()))
        part = f"{points} of the {grid} points of its grid" if points < grid else None
        candidates.append((part or _undecided_row(one[0], claim, allow_dirty), one))
    # The first that decides, else the first.
    chosen = sorted(candidates, key=lambda candidate: candidate[0] is not None)[:1]
    full: Valued = [one for why, one in chosen if why is None]
    smaller: Valued = [one for why, one in chosen if why is not None]
    result = _judged(claim, [full], [smaller], lambda row: chosen[0][0])
    return result._replace(verdict=result.verdict._replace(interval=None))


def _undecided_row(row: Row, claim: Claim, allow_dirty: bool) -> str | None:
    device, commit = row.values.get("device_type"), str(row.values.get("commit"))
    if claim.device is not None and device != claim.device:
        return f"measured on {device or 'an unknown device'}, the claim is of {claim.device}"
    if allow_dirty:
        return None
    return UNCOMMITTED if commit.endswith("-dirty") else UNKNOWN_CODE if commit in ("None", "") else None


def _joined(reasons: list[str]) -> str:
    return ", ".join(dict.fromkeys(reasons))


def completed(records: Records, side: Needed) -> set[int]:
    """Seeds of a side that are done, whether they decide or not."""
    return {
        seed for seed, alike in records.by_place.get(side.place, {}).items() if alike[0].record["status"] == "completed"
    }


def deciding(claim: Claim, records: Records, side: Needed, *, allow_dirty: bool) -> set[int]:
    """Seeds of a side of which a completed run decides on the claim."""
    return {
        seed
        for seed, alike in records.by_place.get(side.place, {}).items()
        if any(
            run.record["status"] == "completed"
            and _why_undecided(run.record, claim=claim, allow_dirty=allow_dirty) is None
            for run in alike
        )
    }
