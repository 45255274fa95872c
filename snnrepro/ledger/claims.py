"""What the experiments claim.

A claim stands in an experiment's file (configs/experiment), a mapping under `claims`:

    id           unique in its file; experiment/id names it everywhere
    statement    a sentence
    kind         value, difference (run - against), ratio (run / against), ranking (of several runs, the first best) or
                 lead (run above against, by more than seeds differ)
    run, against overrides of the experiment, as on the command line; a ranking lists several under `run`
    metric       a metric of run.json
    value        the paper's, in `unit`; null for a ranking and a lead
    tolerance    how far from it counts as reproduced; of a ranking, by how much each run must lead the next
    min_seeds    completed runs that each side needs
    source       where the figure is from
    blocked      why it cannot be run, where it cannot
    protocol     paper (default) or validated
    device       cuda or cpu: what the paper measured on, where the metric is a time; no other kind decides
    benchmark    of a claim about rows of results/benchmarks, not about runs: the benchmark's name. `run` then names
                 columns and their values, metric a column; over (max, min or median) says which of several rows counts
    of           of a claim carried over to a smaller experiment: the names of the paper's claims that it stands for

snnrepro/ledger/verdicts.py says how a claim is judged.
"""

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from snnrepro.errors import UserError, did_you_mean

KINDS = ("value", "difference", "ratio", "ranking", "lead")
REQUIRED = ("id", "statement", "kind", "run", "metric", "value", "tolerance", "unit", "min_seeds", "source")
OPTIONAL = ("against", "blocked", "protocol", "device", "benchmark", "over", "of")
DEVICES = ("cuda", "cpu")
OVER = ("max", "min", "median")

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
    device: str | None = None
    benchmark: str | None = None
    over: str | None = None
    of: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.experiment}/{self.id}"


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
    named = isinstance(entry.get("id"), str) and re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", entry["id"], re.ASCII)
    if isinstance(entry.get("id"), str) and entry["id"].strip() and not named:
        raise UserError(f"{where}: id is a name, or several with / between, got {entry['id']!r}")
    where = f"{where} ({entry['id']})" if named else where
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
        if kind == "lead":
            if entry["value"] is not None or entry["tolerance"] != 0 or entry.get("benchmark"):
                raise UserError(f"{where}: a lead is of runs and has value: null and tolerance: 0.0: seeds decide")
            if isinstance(entry["min_seeds"], int) and entry["min_seeds"] < 2:
                raise UserError(f"{where}: a lead needs min_seeds of 2 or more, got {entry['min_seeds']}")
        elif not _is_number(entry["value"]):
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
    if entry.get("device") not in (None, *DEVICES):
        raise UserError(f"{where}: device is cuda or cpu, got {entry['device']!r}")
    if entry.get("over") not in (None, *OVER):
        raise UserError(f"{where}: over is one of {', '.join(OVER)}, got {entry['over']!r}")
    of = entry.get("of", [])
    if not isinstance(of, list) or not all(isinstance(name, str) for name in of) or ("of" in entry and not of):
        raise UserError(f"{where}: of is a list of the names of other claims, got {of!r}")
    if not isinstance(entry.get("benchmark", ""), str):
        raise UserError(f"{where}: benchmark is the name of one, got {entry['benchmark']!r}")
    if entry.get("benchmark") and not _is_plain([entry["benchmark"], *runs[0].values()]):
        raise UserError(f"{where}: its columns hold numbers and names, or lists of them, got {runs[0]!r}")
    if entry.get("benchmark") and kind != "value":
        raise UserError(f"{where}: a claim of a benchmark is a value; a ratio of two forms is a column of its rows")
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
        entry.get("device"),
        entry.get("benchmark"),
        entry.get("over"),
        tuple(of),
    )


def _is_plain(value: Any) -> bool:
    """What is no option when it stands on a command line."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return not str(value).startswith("-")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
