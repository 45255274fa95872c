"""What the runs of a claim cost, and how they are started."""

import csv
import signal
import statistics
import subprocess
import sys
from typing import NamedTuple

from snnrepro.config.check import CONFIGS
from snnrepro.ledger.claims import Claim
from snnrepro.ledger.runs import Records

EXPERIMENTS = CONFIGS.parent / "results" / "experiments.csv"

# Words that say where and on what a run runs: they leave it the run that a claim names.
HARMLESS = ("paths.", "logger", "trainer.accelerator=", "trainer.progress_bar=", "dataset.num_workers=", "overwrite=")


def measuring(claim: Claim, *, reduced: bool) -> list[str]:
    """The words for scripts/benchmark.py that measure what a claim of a benchmark needs.

    reduced: on this machine's processor, and of a grid what the benchmark takes by itself.
    """
    options = {"neuron": "--neurons", "T": "--steps", "N": "--sizes", "batch": "--batches"}
    if claim.benchmark == "layers":
        del options["neuron"]  # it always times the Block's
    words = [str(claim.benchmark)]
    for column, value in claim.runs[0].items():
        if column in options and not (reduced and isinstance(value, list)):
            words += [options[column], *map(str, value if isinstance(value, list) else [value])]
    device = "cpu" if reduced else claim.device
    return [*words, *(["--device", device] if device else [])]


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
    if row is None or claim.benchmark is not None:
        return None
    one = 3 * row.macs_per_sample * row.train_samples * row.epochs
    steps = (int(run.get("dataset.num_steps", row.num_steps)) / row.num_steps for run in claim.runs)
    return one * claim.min_seeds * sum(steps)


def rates(records: Records) -> list[tuple[float, str, str | None]]:
    """Of every run that tells it: training MAC/s, on what, of which experiment."""
    found = []
    for _, record in records.runs:
        speed, macs = (
            record["metrics"].get("train/samples_per_second"),
            record["metrics"].get("test/dense_macs_per_sample"),
        )
        if speed and macs and record.get("device"):
            found.append((3 * speed * macs, str(record["device"].get("name")), record.get("experiment")))
    return found


def rate(known: list[tuple[float, str, str | None]], experiment: str) -> float | None:
    """Median of `rates` over the experiment's records, else over all; None where there is none.

    A small net trains at a hundredth of a large one's: nearly all of its time is not arithmetic.
    """
    own = [rate for rate, _, of in known if of == experiment]
    chosen = own or [rate for rate, _, _ in known]
    return statistics.median(chosen) if chosen else None


def start(words: list[str], script: str = "train.py") -> int:
    """Run `python script words...`; its exit code. A Ctrl-C reaches it too, SIGTERM is passed on: it records so."""
    with subprocess.Popen([sys.executable, str(CONFIGS.parent / script), *words]) as process:
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            while True:
                try:
                    return process.wait()
                except KeyboardInterrupt:
                    continue
        finally:
            signal.signal(signal.SIGTERM, before)
