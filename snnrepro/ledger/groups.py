"""Runs that differ in nothing but their seed, taken together."""

from collections.abc import Iterable
from statistics import fmean
from typing import Any, NamedTuple

from snnrepro.ledger.runs import Record, Recorded
from snnrepro.ledger.statistics import Bounds, bootstrap
from snnrepro.ledger.tables import BUSY, accuracy_of, busy

DEFAULT_COST_MODEL = "horowitz_45nm"

# The papers of configs/experiment's folders, and what is carried over from them.
PAPERS = {
    "psn": "PSN",
    "psu": "PSU",
    "mpe_psn": "MPE-PSN",
    "block": "Block",
    "block_v1": "Block v1",
    "small": "Carried over to small experiments",
}


class Summary(NamedTuple):
    """A metric over seeds: mean, 95 % bootstrap interval (None of one seed), number of seeds that have it."""

    mean: float
    interval: Bounds | None
    seeds: int


class Group(NamedTuple):
    """Runs of one identity but for the seed.

    Apart, so that nothing is mixed in: what was run from uncommitted changes, on part of the data, on another kind of
    device, or priced by another cost model.
    """

    place: str
    dirty: bool
    partial: bool
    device: str
    cost_model: str
    runs: tuple[Recorded, ...]

    @property
    def notes(self) -> list[str]:
        """In words what sets this group apart from what is expected of its place."""
        return [
            *(["uncommitted changes"] if self.dirty else []),
            *(["partial data"] if self.partial else []),
            *([self.device] if self.device not in ("", "cpu") else []),
            *([self.cost_model] if self.cost_model not in ("", DEFAULT_COST_MODEL) else []),
        ]

    @property
    def first(self) -> Record:
        return self.runs[0].record

    @property
    def completed(self) -> list[Recorded]:
        return [run for run in self.runs if run.record["status"] == "completed"]

    def values(self, metric: str) -> list[float]:
        """Over the completed runs that have the metric."""
        found = (metric_value(run.record, metric) for run in self.completed)
        return [value for value in found if value is not None]

    @property
    def disturbed(self) -> bool:
        """Whether other work took a noticeable part of the processor while a completed run was timed."""
        return any((busy(run.record) or 0) > BUSY for run in self.completed)

    def summary(self, metric: str) -> Summary | None:
        """None where no completed run has the metric."""
        values = self.values(metric)
        return Summary(fmean(values), bootstrap([values]), len(values)) if values else None


def groups(runs: Iterable[Recorded]) -> list[Group]:
    """In the order of their places, seeds in order; of two runs of one identity the first completed one."""
    found: dict[tuple[str, bool, bool, str, str], dict[int, Recorded]] = {}
    for run in runs:
        record = run.record
        git, data, device = (record.get(name) or {} for name in ("git", "data", "device"))
        kind = bool(git.get("dirty")), bool(data.get("partial")), str(device.get("type") or "")
        seeds = found.setdefault((run.place, *kind, str(record.get("cost_model") or "")), {})
        known = seeds.get(run.seed)
        if known is None or (known.record["status"] != "completed" and record["status"] == "completed"):
            seeds[run.seed] = run
    return [Group(*key, tuple(seeds[seed] for seed in sorted(seeds))) for key, seeds in sorted(found.items())]


def metric_value(record: Record, metric: str) -> float | None:
    """A metric of a record; `accuracy` is that of its own protocol, `parameters` their number."""
    elsewhere: dict[str, Any] = {"accuracy": accuracy_of(record), "parameters": record.get("parameters")}
    value = elsewhere[metric] if metric in elsewhere else record["metrics"].get(metric)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def paper_of(record: Record) -> str:
    """The paper whose experiment a run is of; empty for a run of no experiment."""
    folder = str(record.get("experiment") or "").partition("/")[0]
    return PAPERS.get(folder, folder)
