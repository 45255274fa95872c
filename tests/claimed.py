"""Claims of the papers to be judged by made-up measurements, left below the working folder as train.py leaves them."""

import csv
from pathlib import Path

from snnrepro.config.check import CONFIGS
from snnrepro.config.compose import compose_job
from snnrepro.errors import UserError
from snnrepro.judging import needed
from snnrepro.ledger import record as ledger
from snnrepro.ledger.claims import Claim, read_claims

CLAIMS = {claim.name: claim for claim in read_claims(CONFIGS / "experiment")}
VALUE = "block/yin_yang/block/accuracy"  # 98.02 %, within half a point, three seeds from 0
RATIO = "block/yin_yang/speed_against_lif_single_spike"  # lif_single_spike / block, three seeds
RANKING = "psu/shd/accuracy_ranking"  # psu, lif, three seeds from 42
BLOCKED = "psn/imagenet/sew_resnet18/psn/accuracy"
CUDA = {"type": "cuda", "name": "a GPU"}
LAYER = "mpe_psn/cifar10_dvs/speed/T4/N2e10"  # 2.7 x, by a row of the benchmark of neurons on a GPU
GRID = "block/fashion_mnist/speed_layer/least"  # 0.43 x, the slowest of a grid of 9 x 10 layers
ACCURACY = {"test/accuracy_last_epoch": 0.98}


def leave(words: list[str], metrics: dict[str, float], status: str = "completed", **facts) -> Path:
    """The record that `train.py words` would leave, below runs unless the words say otherwise."""
    job = compose_job(words)
    run = ledger.Run(job.config, job.choices, job.overrides)
    try:
        with run:
            run.update(facts)
            if status == "failed":
                raise UserError("no space left on the disk")
            if status == "interrupted":
                raise KeyboardInterrupt
            run.complete({"metrics": metrics})
    except KeyboardInterrupt:
        pass
    return run.folder / "run.json"


def leave_seeds(name: str, *values: float, first: int = 0, side: int = 0, reduced: bool = False, **facts) -> None:
    """Completed runs of one side of a claim, a seed each, with these values of its metric."""
    claim = CLAIMS[name]
    words = needed(claim, reduced=reduced)[side].words
    for seed, value in enumerate(values, first):
        leave([*words, f"seed={seed}"], {claim.metric: value}, **facts)


def measured_rows(name: str, *rows: dict) -> Path:
    """A file of benchmark rows below runs."""
    file = Path("runs/benchmarks") / f"{name}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def row(claim: Claim, **changes) -> dict:
    """A row that a claim of a benchmark asks for, on a GPU, from a clean commit; of a grid its first point."""
    run = {key: value[0] if isinstance(value, list) else value for key, value in claim.runs[0].items()}
    one = {
        "benchmark": claim.benchmark,
        "speedup": claim.value,
        "device_type": "cuda",
        "checked": True,
        "commit": "12ab",
    }
    return {**one, **run, **changes}
