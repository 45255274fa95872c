"""From a claim to the runs that it needs, and from the records of those runs to its verdict."""

import csv
import json
import statistics
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from snnrepro.config.check import CONFIGS, check
from snnrepro.config.compose import compose_job
from snnrepro.errors import UserError
from snnrepro.ledger.claims import Claim, Verdict, is_reduced, judge, metric_of
from snnrepro.ledger.record import identity

EXPERIMENTS = CONFIGS.parent / "results" / "experiments.csv"

# Words that say where and on what a run runs: they leave it the run that a claim names.
HARMLESS = ("paths.", "logger", "trainer.accelerator=", "trainer.progress_bar=", "dataset.num_workers=", "overwrite=")

Record = dict[str, Any]


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
        try:
            sides.append(_needed((*words, *(["scale=reduced"] if reduced else []))))
        except UserError as error:
            raise UserError(f"claim {claim.name}: {error}") from None
    return sides


def spelled(value: Any) -> str:
    """A plain value as the command line spells it."""
    return value if isinstance(value, str) else json.dumps(value)


class Records:
    """Every run.json below some folders, by identity; of two with the same one, that of the folder named first."""

    def __init__(self, folders: list[Path]) -> None:
        self.by_place: dict[str, dict[int, Record]] = defaultdict(dict)
        self.experiments: set[str] = set()
        self.rates: list[tuple[float, str]] = []  # MAC/s in training, and on what
        for folder in folders:
            for file in sorted(folder.rglob("run.json")):
                try:
                    self._add(json.loads(file.read_text()))
                except (OSError, ValueError, KeyError, TypeError, AttributeError):
                    continue

    def _add(self, record: Record) -> None:
        place, _, seed = record["identity"].rpartition("/seed")
        self.by_place[place].setdefault(int(seed), record)
        if record.get("experiment"):
            self.experiments.add(record["experiment"])
        metrics = record["metrics"]
        speed, macs = metrics.get("train/samples_per_second"), metrics.get("test/dense_macs_per_sample")
        if speed and macs:
            self.rates.append((3 * speed * macs, record["device"]["name"]))

    def values(self, claim: Claim, sides: list[Needed], *, reduced: bool) -> list[list[float]]:
        """For every side the claim's metric over its seeds, of runs at full scale or of smaller ones."""
        return [
            [
                value
                for record in self.by_place.get(side.place, {}).values()
                if is_reduced(record) == reduced and (value := metric_of(record, claim)) is not None
            ]
            for side in sides
        ]

    def completed(self, side: Needed) -> set[int]:
        """Seeds of a side that are done."""
        return {seed for seed, record in self.by_place.get(side.place, {}).items() if record["status"] == "completed"}

    def verdict(self, claim: Claim) -> Verdict:
        nothing: list[list[float]] = [[] for _ in claim.runs]
        if claim.blocked or claim.experiment not in self.experiments:
            return judge(claim, nothing, nothing)
        full = needed(claim, reduced=False)
        # A full run on a partial data set decides nothing either.
        smaller = self.values(claim, full, reduced=True)
        if not all(smaller):
            smaller = self.values(claim, needed(claim, reduced=True), reduced=True)
        return judge(claim, self.values(claim, full, reduced=False), smaller)


class Experiment(NamedTuple):
    """A row of results/experiments.csv: what one full run of an experiment costs."""

    dataset: str
    num_steps: int
    macs_per_sample: float
    train_samples: int
    epochs: int


def experiments() -> dict[str, Experiment]:
    """The table that `make docs` writes; empty where it is not there."""
    if not EXPERIMENTS.is_file():
        return {}
    rows = csv.DictReader(EXPERIMENTS.read_text().splitlines())
    return {
        row["experiment"]: Experiment(
            row["dataset"],
            int(row["num_steps"]),
            float(row["macs_per_sample"]),
            int(row["train_samples"]),
            int(row["epochs"]),
        )
        for row in rows
    }


def macs(claim: Claim, table: dict[str, Experiment]) -> float | None:
    """About how many multiply-accumulates the runs of a claim train with, backward passes counted twice."""
    row = table.get(claim.experiment)
    if row is None:
        return None
    one = 3 * row.macs_per_sample * row.train_samples * row.epochs
    steps = (int(run.get("dataset.num_steps", row.num_steps)) / row.num_steps for run in claim.runs)
    return one * claim.min_seeds * sum(steps)


def rate(records: Records) -> tuple[float, int] | None:
    """Median training rate of the records in MAC/s, and of how many; None without records that have one."""
    return (statistics.median(r for r, _ in records.rates), len(records.rates)) if records.rates else None
