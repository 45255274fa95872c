"""What scripts/findings.py writes about: the committed records, verdicts and rows, by names that a page can use."""

import math
import statistics
from pathlib import Path
from typing import Any

from snnrepro.config.check import CONFIGS
from snnrepro.judging import judged
from snnrepro.ledger.claims import read_claims
from snnrepro.ledger.groups import Group, groups
from snnrepro.ledger.runs import Judged, Records

ROOT = Path(__file__).resolve().parents[1]
LAYER_BASELINES = ("loop", "fused_loop")

Row = dict[str, Any]


class Found:
    """All that was measured, read once. claims: by name. places: the groups of runs of each experiment or data set."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.records = Records([results])
        self.claims: dict[str, Judged] = {
            claim.name: judged(claim, self.records) for claim in read_claims(CONFIGS / "experiment")
        }
        self.places: dict[str, list[Group]] = {}
        for group in groups(self.records.runs):
            if group.completed:
                self.places.setdefault(group.place.rpartition("/")[0], []).append(group)

    def group(self, place: str, neuron: str, **settings: Any) -> Group | None:
        """The runs of a neuron at a place; settings: of the neuron, or `num_steps`. None where there are none."""
        for group in self.places.get(place, []):
            config = group.first["config"]
            has = config["neuron"] | {"num_steps": config["dataset"].get("num_steps")}
            if group.first["neuron"] == neuron and all(has.get(key) == value for key, value in settings.items()):
                return group
        return None

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


def correlation(xs: list[float], ys: list[float]) -> float:
    """Spearman's rank correlation; NaN of fewer than three pairs."""
    from scipy import stats

    return float(stats.spearmanr(xs, ys).statistic) if len(xs) > 2 else math.nan
