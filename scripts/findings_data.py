"""What scripts/findings.py writes about: the committed records, verdicts and rows, by names that a page can use."""

import math
import statistics
from functools import cached_property
from pathlib import Path
from typing import Any

from snnrepro.config.check import CONFIGS
from snnrepro.errors import UserError
from snnrepro.judging import judged
from snnrepro.ledger.claims import read_claims
from snnrepro.ledger.groups import Group, groups
from snnrepro.ledger.report_text import Price
from snnrepro.ledger.runs import Judged, Recorded, Records, number
from snnrepro.pricing import prices

ROOT = Path(__file__).resolve().parents[1]
SEQ, BLOCK, SPEECH = "small/seq_fashion_mnist", "small/fashion_mnist", "small/spoken_digits"
CIFAR = "psn/seq_cifar10-reduced"

# A label, the neuron, what sets it apart from others of its name; from the paper's best to its worst.
SEQ_NEURONS: list[tuple[str, str, dict[str, Any]]] = [
    ("PSN", "psn", {}),
    ("sliding PSN", "sliding_psn", {"order": None}),
    ("masked PSN", "masked_psn", {"order": None}),
    ("PLIF", "plif", {}),
    ("LIF", "lif", {"v_threshold": 1.0}),
    ("LIF without reset", "lif_no_reset", {"v_threshold": 1.0}),
    ("LIF of PSU's paper", "lif", {"v_threshold": 0.5, "reset": "hard"}),
    ("LIF that PSU estimates", "lif", {"v_threshold": 0.5, "reset": "soft"}),
    ("LIF without reset at 0.5", "lif_no_reset", {"v_threshold": 0.5}),
    ("PSU", "psu", {}),
    ("IPSU as released", "ipsu", {}),
    ("IPSU, estimated reset", "ipsu_estimated", {}),
    ("RPSU", "rpsu", {}),
    ("MPE-PSN", "mpe_psn", {}),
]
PAPERS_OWN = [entry for entry in SEQ_NEURONS if entry[2].get("v_threshold") != 0.5]  # each neuron once
SPEECH_NEURONS: list[tuple[str, str, dict[str, Any]]] = [
    ("LIF", "lif", {"v_threshold": 1.0}),
    ("LIF of PSU's paper", "lif", {"v_threshold": 0.3, "reset": "hard"}),
    ("LIF that PSU estimates", "lif", {"v_threshold": 0.3, "reset": "soft"}),
    ("PSU", "psu", {}),
    ("RPSU", "rpsu", {}),
    ("PSN", "psn", {}),
    ("sliding PSN", "sliding_psn", {}),
    ("SPSN", "spsn", {"epochs": 20}),
]
BLOCK_NEURONS = {
    "block": ("Block", "C0", "o"),
    "block_v1": ("Block, first version", "C9", "v"),
    "lif_single_spike": ("single-spike loop", "C1", "s"),
    "lif_multi_spike": ("multi-spike loop", "C3", "^"),
}
ORDERS = [1, 2, 4, 8, 16]
ORDER_NEURONS = {"masked_psn": ("masked PSN", "C0", "o"), "sliding_psn": ("sliding PSN", "C1", "s")}
ACCOUNTED = [
    entry
    for entry in PAPERS_OWN
    if entry[1] in ("psn", "sliding_psn", "masked_psn", "lif_no_reset", "psu", "rpsu", "mpe_psn")
]
FAITHFUL = [  # to a LIF, or meant to be
    entry for entry in PAPERS_OWN if entry[1] in ("lif_no_reset", "psu", "ipsu", "ipsu_estimated", "rpsu", "mpe_psn")
]

Row = dict[str, Any]


class Found:
    """All that was measured, read once. claims: by name. places: the groups of runs of each experiment or data set."""

    def __init__(self, results: Path) -> None:
        self.records = Records([results])
        self.claims: dict[str, Judged] = {
            claim.name: judged(claim, self.records) for claim in read_claims(CONFIGS / "experiment")
        }
        self.places: dict[str, list[Group]] = {}
        for group in groups(self.records.runs):
            if group.completed:
                self.places.setdefault(group.place.rpartition("/")[0], []).append(group)

    def group(self, place: str, neuron: str, **settings: Any) -> Group | None:
        """The runs of a neuron at a place, None where there are none. settings: of the neuron, `num_steps`, `epochs`.

        Raises UserError where several configs fit: one of them would stand for all.
        """
        fitting = []
        for group in self.places.get(place, []):
            config = group.first["config"]
            has = config["neuron"] | {name: config["dataset"].get(name) for name in ("num_steps", "epochs")}
            if group.first["neuron"] == neuron and all(has.get(key) == value for key, value in settings.items()):
                fitting.append(group)
        if len(fitting) > 1:
            raise UserError(f"{place}: {neuron} has {len(fitting)} configs, {fitting[0].place} the first: say which")
        return fitting[0] if fitting else None

    def rows(self, benchmark: str, file: str | None = None) -> list[Row]:
        """The rows of a benchmark, of one file (by its stem) where one is named."""
        return [row.values for row in self.records.rows[benchmark] if file is None or row.file.stem == file]

    def layer_speed(self, neuron: str, baseline: str, which: str = "forward_backward") -> float | None:
        """Geometric mean over the grid of `neurons_cpu.csv` of a neuron's speed over a baseline's."""
        found = [
            row["speedup"]
            for row in self.rows("neurons", "neurons_cpu")
            if (row["neuron"], row["baseline"], row["pass"], row["auto"]) == (neuron, baseline, which, True)
            and row["speedup"]
        ]
        return statistics.geometric_mean(found) if found else None

    def network_speed(self, file: str, neuron: str, which: str = "training") -> float | None:
        """A neuron's speed over the looped LIF's in whole networks, rows of `small/networks_<file>_cpu.csv`."""
        for row in self.rows("networks", f"networks_{file}_cpu"):
            if (row["neuron"], row["pass"]) == (neuron, which):
                return float(row["speedup"])
        return None

    def fidelity(self, neuron: str) -> float | None:
        """Mean spike agreement of a trained neuron with the LIF that it stands for, over layers and seeds."""
        found = [
            row["agreement"]
            for row in self.rows("fidelity_trained", "fidelity_trained_cpu")
            if row["neuron"] == neuron and row["agreement"] is not None
        ]
        return statistics.fmean(found) if found else None

    @cached_property
    def prices(self) -> dict[str, Price]:
        """What the counted operations cost, by the place of the runs."""
        return {price.run.place: price for price in prices(self.records.runs)}

    def measures(self, group: Group) -> dict[str, float]:
        """What these runs fire and take, by each way to count: means over seeds, other counters of the first."""
        spikes, accuracy = group.values("test/spikes_per_sample"), group.values("test/accuracy")
        found = {
            "spikes a neuron and step": statistics.fmean(group.values("test/firing_rate")),
            "spikes a correct answer": statistics.fmean(s / a for s, a in zip(spikes, accuracy, strict=True)),
        }
        names = {
            "papers": "energy: synapses only",
            "horowitz_45nm": "energy: and neurons' arithmetic",
            "with_memory": "energy: and memory",
        }
        if price := self.prices.get(group.place):
            found |= {label: price.energies[model] for model, label in names.items()}
        for row in (group.first.get("counters") or {}).get("rows") or []:
            if row.get("energy_pj") and row["counter"] != "snnrepro":
                found[f"energy: {row['counter']}"] = float(row["energy_pj"])
        return found


def test_curve(run: Recorded) -> list[float]:
    """Accuracy on the test set after every epoch."""
    return [number(line.get("epoch_test/accuracy")) for line in run.curves()]


def correlation(xs: list[float], ys: list[float]) -> float:
    """Spearman's rank correlation; NaN of fewer than three pairs."""
    from scipy import stats

    return float(stats.spearmanr(xs, ys).statistic) if len(xs) > 2 else math.nan
