"""docs/experiments.md and results/experiments.csv: every experiment's network, size, cost and claims."""

import csv
import io
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "experiments.md"
TABLE = ROOT / "results" / "experiments.csv"

# Samples that protocol=paper trains on: the official training sets, of CIFAR10-DVS nine tenths.
TRAIN_SAMPLES = {
    "cifar10": 50_000,
    "cifar100": 50_000,
    "seq_cifar10": 50_000,
    "seq_cifar100": 50_000,
    "cifar10_dvs": 9_000,
    "imagenet": 1_281_167,
    "shd": 8_156,
    "dvs_gesture": 1_176,
    "yin_yang": 10_000,
    "mnist": 60_000,
    "fashion_mnist": 60_000,
    "nmnist": 60_000,
    "spoken_digits": 2_430,
}
PAPERS = {
    "psn": "PSN, arXiv 2304.12760",
    "psu": "PSU, arXiv 2402.00449",
    "mpe_psn": "MPE-PSN, arXiv 2409.04978",
    "block": "Block, arXiv 2205.15286, second version",
    "block_v1": "Block, arXiv 2205.15286, first version",
    "small": "The papers' claims carried over to small experiments",
}

HEAD = """# Experiments

Written by `python scripts/document.py` from configs/experiment; edit those.

    python train.py experiment=psn/seq_cifar10                      the paper's run, with the neuron it is named for
    python train.py experiment=psn/seq_cifar10 neuron=sliding_psn   another neuron, with what the paper changes for it
    python train.py experiment=psn/seq_cifar10 scale=reduced        minutes on two cores; no verdict on any claim
    python train.py experiment=psn/seq_cifar10 sweep=neurons        a table of the paper; also seeds, psn_order,
                                                                    batch_and_steps
    python scripts/reproduce.py                                     every claim and its state
    python scripts/reproduce.py claim=psn/seq_cifar10/psn/accuracy  run what a claim needs, print the verdict

An experiment fixes a paper's data, network, loss, optimiser, schedule, augmentation, epochs, precision and seed, under
`protocol=paper`; what the user writes wins over it. Its file says in its head what differs from the paper, what was not
found, and where code and text disagree; under `by_neuron` what the paper changes for a neuron; under `reduced` what
`scale=reduced` changes; under `claims` what the paper claims, each with its source. How a claim is judged is in
[measuring.md](measuring.md). Those below `small/` are no paper's: they carry the papers' claims over to data and sizes
that two cores train on in minutes, all neurons by one recipe, under `protocol=validated`.

*Parameters* are those with the neuron of the first column after the name. *MACs* are multiply-accumulates of one
forward pass of one sample over all its T steps, every connection counted, padding left out; training costs about three
times as much. *Claims* in brackets: those that are blocked.
"""


def rows() -> list[dict[str, Any]]:
    """An experiment a row, its network built without memory."""
    import torch
    from hydra.utils import instantiate

    from snnrepro.build import data_module
    from snnrepro.config.check import CONFIGS, options
    from snnrepro.config.compose import compose_job
    from snnrepro.ledger.claims import read_claims
    from snnrepro.metrics.operations import ConnectionCounter
    from snnrepro.neurons import Neuron

    class Passing(Neuron):
        """Gives its input on: what neurons compute is no matter here."""

        def __init__(self, num_steps: int, num_features: int) -> None:
            super().__init__(num_steps, num_features, 1.0, "atan", "auto")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    claims = read_claims(CONFIGS / "experiment")
    found = []
    for name in options("experiment"):
        job = compose_job([f"experiment={name}"])
        config, (data, dataset) = job.config, data_module([f"experiment={name}"])
        sizes = {"input_shape": data.input_shape, "num_classes": data.num_classes, "num_steps": data.num_steps}
        if "weights" in config.architecture:
            config.architecture.weights = None  # no size depends on them
        architecture = instantiate(config.architecture, _convert_="all")
        with torch.device("meta"):
            network = architecture(neuron=instantiate(config.neuron, _convert_="all"), **sizes)
            bare = architecture(neuron=Passing, **sizes)
            with torch.no_grad(), ConnectionCounter(bare.eval()) as counter:
                bare(torch.empty(data.num_steps, 1, *data.input_shape))
        of_it = [claim for claim in claims if claim.experiment == name]
        found.append(
            {
                "experiment": name,
                "neuron": job.choices["neuron"],
                "dataset": dataset,
                "num_steps": data.num_steps,
                "architecture": job.choices["architecture"],
                "parameters": sum(p.numel() for p in network.parameters()),
                "macs_per_sample": counter.macs,
                "train_samples": job.config.dataset.get("train_samples") or TRAIN_SAMPLES[dataset],
                "epochs": config.trainer.max_epochs,
                "batch_size": data.batch_size,
                "claims": len(of_it),
                "blocked": sum(claim.blocked is not None for claim in of_it),
                "version": config.version,
            }
        )
    return sorted(found, key=lambda row: list(PAPERS).index(row["experiment"].partition("/")[0]))


def table(found: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def page(found: list[dict[str, Any]]) -> str:
    columns = ["experiment", "neuron", "data", "T", "network", "parameters", "MACs", "epochs", "batch", "claims"]
    lines = [HEAD, "| " + " | ".join(columns) + " |", "|" + "---|" * 5 + "---:|" * 5]
    for row in found:
        name = row["experiment"]
        blocked = f" ({row['blocked']})" if row["blocked"] else ""
        cells = [
            f"[`{name}`](../configs/experiment/{name}.yaml)",
            *(f"`{row[key]}`" for key in ("neuron", "dataset")),
            f"{row['num_steps']}",
            f"`{row['architecture']}`",
            f"{row['parameters']:,}",
            short(row["macs_per_sample"]),
            f"{row['epochs']:,}",
            f"{row['batch_size']}",
            f"{row['claims']}{blocked}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for folder, title in PAPERS.items():
        lines += ["", f"## {title}"]
        for row in (row for row in found if row["experiment"].startswith(f"{folder}/")):
            lines += ["", f"### {row['experiment']}", "", *described(row["experiment"])]
    return "\n".join(lines) + "\n"


def described(name: str) -> list[str]:
    """The head of an experiment's file, and its two sections in words."""
    from omegaconf import OmegaConf

    from snnrepro.config.sections import spelled

    file = ROOT / "configs" / "experiment" / f"{name}.yaml"
    head = []
    for line in file.read_text().splitlines()[1:]:
        if not line.startswith("#"):
            break
        head.append(line[2:])
    content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    lines = [*head, ""]
    for neurons, changes in (content.get("by_neuron") or {}).items():
        words = ", ".join(f"`{key}={spelled(value)}`" for key, value in changes.items())
        lines.append(f"- with {neurons}: {words}")
    return [*lines, f"- reduced: {content['reduced']['what']}"] if "reduced" in content else lines


def short(number: float) -> str:
    """3.1 G, 45.2 M, 510 k."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"
