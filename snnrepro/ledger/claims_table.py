"""Claims and what was measured of them, in words."""

from typing import Any

from snnrepro.ledger.claims import Claim
from snnrepro.ledger.tables import DASH, amount
from snnrepro.ledger.verdicts import Verdict


def figure(value: float | None, claim: Claim, *, difference: bool = False) -> str:
    """A value in the claim's unit, as people read it."""
    if value is None:
        return DASH
    if claim.unit == "fraction":
        points = difference or claim.kind in ("difference", "lead")
        return f"{round(100 * value, 3):+g} points" if points else f"{100 * value:.2f} %"
    return f"{value:.4g} x" if claim.unit == "times" else amount(value, claim.unit)


def side(run: dict[str, Any]) -> str:
    """A run of a claim by what it overrides: its neuron first."""
    return " ".join(str(value) if key == "neuron" else f"{key}={value}" for key, value in run.items())


def papers(claim: Claim) -> str:
    """What the paper has: a value, or an order."""
    return " > ".join(map(side, claim.runs)) if claim.kind in ("ranking", "lead") else figure(claim.value, claim)


def tolerance(claim: Claim) -> str:
    """How far from it still counts as reproduced."""
    if claim.kind == "lead":
        return "by more than seeds differ"
    allowed = figure(claim.tolerance, claim, difference=True).lstrip("+")
    return f"each ahead by more than {allowed}" if claim.kind == "ranking" else f"within {allowed}"


def measured(verdict: Verdict, claim: Claim) -> str:
    """What was measured, without seeds and interval."""
    return " > ".join(figure(value, claim) for value in verdict.ours) if verdict.ours else DASH


def ours(verdict: Verdict, claim: Claim) -> str:
    """What was measured, with the interval over seeds where there is one."""
    return " ".join(filter(None, (measured(verdict, claim), interval(verdict, claim)))) if verdict.ours else DASH


def number_of_seeds(verdict: Verdict, claim: Claim) -> str:
    """A dash where nothing was measured, or rows of a benchmark."""
    return str(verdict.seeds) if verdict.ours and claim.benchmark is None else DASH


def seeds(verdict: Verdict) -> str:
    return f"{verdict.seeds} seed{'s' if verdict.seeds > 1 else ''}"


def interval(verdict: Verdict, claim: Claim) -> str:
    """The 95 % interval over seeds; empty where there is none."""
    if verdict.interval is None:
        return ""
    # A unit in words stands beside what was measured, once.
    words = {"fraction": " points", "times": ""}.get(claim.unit, f" {claim.unit}")
    low, high = (figure(bound, claim).removesuffix(words) for bound in verdict.interval)
    return f"[{low}, {high}]"
