"""A claim as a file has it, to be changed by a test."""

from snnrepro.ledger.claims import Claim, claims_of

ABSENT = object()
TWO = {"run": {"neuron": "psn"}, "against": {"neuron": "lif"}}
RANKING = {"kind": "ranking", "run": [{"neuron": name} for name in ("psn", "masked_psn", "lif")], "value": None}
DIFFERENCE = {"kind": "difference", "value": 0.05, **TWO}
LEAD = {"kind": "lead", "value": None, "tolerance": 0.0, **TWO}
RATIO = {"kind": "ratio", "value": 4.0, "tolerance": 1.0, "unit": "times", "metric": "test/spikes_per_sample", **TWO}


def entry(**changes) -> dict:
    """A claim as a file has it: a value of 90 % within a point over two seeds, with changes."""
    whole = {
        "id": "psn/accuracy",
        "statement": "PSN reaches 90 %",
        "kind": "value",
        "run": {"neuron": "psn"},
        "metric": "test/accuracy_last_epoch",
        "value": 0.9,
        "tolerance": 0.01,
        "unit": "fraction",
        "min_seeds": 2,
        "source": "a log, arXiv 2304.12760",
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not ABSENT}


def claim(**changes) -> Claim:
    return claims_of("paper/net", [entry(**changes)])[0]
