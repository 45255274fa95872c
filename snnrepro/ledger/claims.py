"""What the experiments claim, and what measured values say of it.

A claim stands in an experiment's file (configs/experiment), a mapping under `claims`:

    id           unique in its file; experiment/id names it everywhere
    statement    a sentence
    kind         value, difference (run - against), ratio (run / against) or ranking (of several runs, the first best)
    run, against overrides of the experiment, as on the command line; a ranking lists several under `run`
    metric       a metric of run.json
    value        the paper's, in `unit`; null for a ranking
    tolerance    how far from it counts as reproduced; of a ranking, by how much each run must lead the next
    min_seeds    completed runs that each side needs
    source       where the figure is from
    blocked      why it cannot be run, where it cannot
    protocol     paper (default) or validated

The verdict is the same for all: `blocked`; `not run` where a side has fewer than min_seeds full runs with that metric;
`reduced` where instead every side was run at scale=reduced or on a partial data set, which decides nothing; else
`reproduced` or `not reproduced`, by the means over seeds. A value far better than the paper's is not reproduced either.
"""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from snnrepro.errors import UserError, did_you_mean

KINDS = ("value", "difference", "ratio", "ranking")
REQUIRED = ("id", "statement", "kind", "run", "metric", "value", "tolerance", "unit", "min_seeds", "source")
OPTIONAL = ("against", "blocked", "protocol")

ROUNDING = 1e-12

Overrides = dict[str, Any]


class Claim(NamedTuple):
    """One claim; `runs` are its sides in order: those under `run`, then `against`."""

    experiment: str
    id: str
    statement: str
    kind: str
    runs: tuple[Overrides, ...]
    metric: str
    value: float | None
    tolerance: float
    unit: str
    min_seeds: int
    source: str
    protocol: str
    blocked: str | None

    @property
    def name(self) -> str:
        return f"{self.experiment}/{self.id}"


class Verdict(NamedTuple):
    """state as above; ours: what was measured (of a ranking the mean of every side); seeds: fewest of a side; why."""

    state: str
    ours: tuple[float, ...]
    seeds: int
    why: str


def read_claims(folder: Path) -> list[Claim]:
    """All claims of the experiment files below a folder, in the order of their names.

    Raises UserError, naming file and claim, for a file that cannot be read and for a claim that is not as above.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    found = []
    for file in sorted(folder.rglob("*.yaml")):
        experiment = file.relative_to(folder).with_suffix("").as_posix()
        try:
            content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
            raise UserError(" ".join(f"{file} cannot be read: {error}".split())) from None
        found += claims_of(experiment, content.get("claims") or [] if isinstance(content, dict) else [])
    return found


def claims_of(experiment: str, entries: Any) -> list[Claim]:
    """The claims under an experiment's key `claims`. Raises UserError for the first that is wrong."""
    if not isinstance(entries, list):
        raise UserError(f"experiment {experiment}: claims is a list of claims, got {type(entries).__name__}")
    claims = [_claim(experiment, number, entry) for number, entry in enumerate(entries, 1)]
    names = [claim.id for claim in claims]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"experiment {experiment}: two claims have the id {name!r}")
    return claims


def _claim(experiment: str, number: int, entry: Any) -> Claim:
    where = f"experiment {experiment}, claim {number}"
    if not isinstance(entry, dict):
        raise UserError(f"{where}: a claim is a mapping of {', '.join(REQUIRED)}, got {entry!r}")
    where = f"{where} ({entry['id']})" if isinstance(entry.get("id"), str) else where
    for key in entry:
        if key not in (*REQUIRED, *OPTIONAL):
            raise UserError(f"{where}: unknown key {key!r}{did_you_mean(str(key), [*REQUIRED, *OPTIONAL])}")
    for key in REQUIRED:
        if key not in entry or (entry[key] is None and key != "value"):
            raise UserError(f"{where}: {key} is missing")
    for key in ("id", "statement", "metric", "unit", "source"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise UserError(f"{where}: {key} must be a text, got {entry[key]!r}")
    kind = entry["kind"]
    if kind not in KINDS:
        raise UserError(f"{where}: kind is one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "ranking":
        runs = entry["run"]
        if (
            not isinstance(runs, list)
            or len(runs) < 2
            or entry["value"] is not None
            or entry.get("against") is not None
        ):
            raise UserError(f"{where}: a ranking lists at least two runs, the best first, with value: null")
    else:
        runs = [entry["run"], *([] if entry.get("against") is None else [entry["against"]])]
        if len(runs) != (1 if kind == "value" else 2):
            raise UserError(f"{where}: a {kind} {'has no' if kind == 'value' else 'needs'} `against`")
        if not _is_number(entry["value"]):
            raise UserError(f"{where}: value must be a number, got {entry['value']!r}")
    if not all(isinstance(run, dict) for run in runs):
        raise UserError(f"{where}: a run is a mapping of overrides, such as {{neuron: psn}}")
    if not _is_number(entry["tolerance"]) or entry["tolerance"] < 0:
        raise UserError(f"{where}: tolerance must be a number, 0 or above, got {entry['tolerance']!r}")
    seeds = entry["min_seeds"]
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise UserError(f"{where}: min_seeds must be a whole number above 0, got {seeds!r}")
    if not isinstance(entry.get("blocked", ""), str):
        raise UserError(f"{where}: blocked is the reason, a text, got {entry['blocked']!r}")
    if entry.get("protocol", "paper") not in ("paper", "validated"):
        raise UserError(f"{where}: protocol is paper or validated, got {entry['protocol']!r}")
    return Claim(
        experiment,
        entry["id"],
        entry["statement"],
        kind,
        tuple(runs),
        entry["metric"],
        entry["value"],
        float(entry["tolerance"]),
        entry["unit"],
        seeds,
        entry["source"],
        entry.get("protocol", "paper"),
        entry.get("blocked"),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def judge(claim: Claim, full: Sequence[Sequence[float]], reduced: Sequence[Sequence[float]]) -> Verdict:
    """The verdict on a claim. full, reduced: for every side the metric's values over seeds, at that scale."""
    if claim.blocked:
        return Verdict("blocked", (), 0, claim.blocked)
    seeds = min(map(len, full))
    if seeds >= claim.min_seeds:
        ours = measured(claim, full)
        if ours is None:
            return Verdict("not run", (), seeds, "the runs to divide by are 0")
        return Verdict("reproduced" if _holds(claim, ours) else "not reproduced", ours, seeds, "")
    if (few := min(map(len, reduced))) and (ours := measured(claim, reduced)) is not None:
        return Verdict("reduced", ours, few, "run at a smaller scale, which decides nothing")
    return Verdict("not run", (), seeds, f"{seeds} of {claim.min_seeds} seeds" if seeds else "")


def measured(claim: Claim, values: Sequence[Sequence[float]]) -> tuple[float, ...] | None:
    """What a claim is about: a number, of a ranking one a side; None where it would divide by 0."""
    means = [statistics.fmean(side) for side in values]
    match claim.kind:
        case "difference":
            return (means[0] - means[1],)
        case "ratio":
            return (means[0] / means[1],) if means[1] else None
    return tuple(means)


def _holds(claim: Claim, ours: tuple[float, ...]) -> bool:
    # What decimal figures differ by is not exact in binary.
    if claim.value is None:
        return all(better - worse > claim.tolerance + ROUNDING for better, worse in itertools.pairwise(ours))
    return abs(ours[0] - claim.value) <= claim.tolerance + ROUNDING


def metric_of(record: Mapping[str, Any], claim: Claim) -> float | None:
    """A completed run's value of the claim's metric under the claim's protocol, else None."""
    if record.get("status") != "completed" or record.get("protocol") != claim.protocol:
        return None
    value = record.get("metrics", {}).get(claim.metric)
    return float(value) if _is_number(value) else None


def is_reduced(record: Mapping[str, Any]) -> bool:
    """Whether a run is of a smaller scale than its experiment: scale=reduced, or a data set that is not whole."""
    return bool(record.get("reduced") or (record.get("data") or {}).get("partial"))
