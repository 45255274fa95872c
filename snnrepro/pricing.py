"""What the counted operations of recorded runs cost under every cost model of configs/energy."""

from collections.abc import Iterable

from hydra.utils import instantiate

from snnrepro.config.check import options
from snnrepro.config.compose import compose_job
from snnrepro.ledger.report_text import Price
from snnrepro.ledger.runs import Recorded
from snnrepro.metrics.energy import CostModel
from snnrepro.metrics.operations import Counts


def cost_models() -> dict[str, CostModel]:
    """By name. Raises UserError for one that lacks a key or holds a wrong value."""
    found = {}
    for name in options("energy"):
        found[name] = instantiate(compose_job([f"energy={name}"]).config.energy, _convert_="all")()
    return found


def prices(runs: Iterable[Recorded]) -> list[Price]:
    """Of the first completed run of each place that recorded its operations."""
    models = cost_models()
    found: dict[str, Price] = {}
    for run in runs:
        counted = run.record.get("operations")
        if run.place in found or run.record["status"] != "completed" or not isinstance(counted, dict):
            continue
        try:
            counts = Counts(**counted)
        except TypeError:  # of another version of this program
            continue
        if None in counts:
            continue
        energies = {name: model.energy(counts).total for name, model in models.items()}
        anns = {name: model.ann_energy_pj(counts) for name, model in models.items()}
        found[run.place] = Price(run, energies, anns)
    return list(found.values())
