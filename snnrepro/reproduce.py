"""From a claim to the runs that it needs, and from the records of those runs to its verdict."""

import csv
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from snnrepro.config.check import CONFIGS, check
from snnrepro.config.compose import compose_job
from snnrepro.config.sections import spelled
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
        words += ["protocol=validated"] if claim.protocol == "validated" else []
        try:
            sides.append(_needed((*words, *(["scale=reduced"] if reduced else []))))
        except UserError as error:
            raise UserError(f"claim {claim.name}: {error}") from None
    return sides


class Records:
    """Every run.json below some folders, by identity.

    Of two with the same one a completed run counts before another, then that of the folder named first. broken: files
    that are no record.
    """

    def __init__(self, folders: list[Path]) -> None:
        self.by_place: dict[str, dict[int, Record]] = defaultdict(dict)
        self.experiments: set[str] = set()
        self.rates: list[tuple[float, str, str | None]] = []  # MAC/s in training, on what, of which experiment
        self.broken: list[Path] = []
        for file in (file for folder in folders for file in sorted(folder.rglob("run.json"))):
            if (record := read(file)) is None:
                self.broken.append(file)
            else:
                self._add(record)

    def _add(self, record: Record) -> None:
        place, _, seed = record["identity"].rpartition("/seed")
        known = self.by_place[place].get(int(seed))
        if known is None or (known["status"] != "completed" and record["status"] == "completed"):
            self.by_place[place][int(seed)] = record
        if record.get("experiment"):
            self.experiments.add(record["experiment"])
        metrics = record["metrics"]
        speed, macs = metrics.get("train/samples_per_second"), metrics.get("test/dense_macs_per_sample")
        if speed and macs and record.get("device"):
            self.rates.append((3 * speed * macs, str(record["device"].get("name")), record.get("experiment")))

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
        sides = needed(claim, reduced=False)
        full = self.values(claim, sides, reduced=False)
        # A full run on a partial data set decides nothing either.
        smaller = self.values(claim, sides, reduced=True)
        if not all(smaller):
            smaller = self.values(claim, needed(claim, reduced=True), reduced=True)
        verdict = judge(claim, full, smaller)
        without = sum(len(self.completed(side)) for side in sides) - sum(map(len, full))
        if verdict.state == "not run" and without and not any(smaller):
            return verdict._replace(why=f"completed runs without {claim.metric}: {without}")
        return verdict


def read(file: Path) -> Record | None:
    """A record with all that is judged in the shape that `train.py` writes; None for any other file."""
    try:
        record = json.loads(file.read_text())
        place, _, seed = record["identity"].rpartition("/seed")
        fine = bool(place) and seed.isdecimal() and isinstance(record["status"], str)
        fine = fine and all(isinstance(record.get(key), dict | None) for key in ("device", "data"))
        fine = fine and all(isinstance(value, int | float | None) for value in record["metrics"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if fine else None


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


def rate(records: Records, experiment: str) -> float | None:
    """Median training rate in MAC/s of the experiment's records, else of all; None where there is none.

    A small net trains at a hundredth of a large one's: nearly all of its time is not arithmetic.
    """
    own = [rate for rate, _, of in records.rates if of == experiment]
    rates = own or [rate for rate, _, _ in records.rates]
    return statistics.median(rates) if rates else None


def start(words: list[str]) -> int:
    """Run `train.py words...`; its exit code. A Ctrl-C reaches it too: it is given the time to record that it ended."""
    with subprocess.Popen([sys.executable, str(CONFIGS.parent / "train.py"), *words]) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue
