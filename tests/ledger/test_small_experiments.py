"""The papers' claims carried over to small experiments: each stands for claims there are, and is judged as such."""

import pytest

from snnrepro.config.check import CONFIGS, check, options
from snnrepro.config.compose import compose_job
from snnrepro.config.sections import spelled
from snnrepro.judging import needed
from snnrepro.ledger.claims import read_claims
from snnrepro.ledger.record import identity

EVERY = read_claims(CONFIGS / "experiment")
CARRIED = [claim for claim in EVERY if claim.of]
SMALL = [name for name in options("experiment") if name.startswith("small/")]


def test_what_is_carried_over_stands_in_the_small_experiments_and_nothing_else_does():
    assert {claim.experiment for claim in CARRIED} == set(SMALL)
    assert {claim.name for claim in EVERY if claim.experiment in SMALL} == {claim.name for claim in CARRIED}


def test_each_stands_for_claims_of_the_papers_from_the_same_paper():
    papers = {claim.name: claim for claim in EVERY if not claim.of}
    for claim in CARRIED:
        for name in claim.of:
            assert name in papers, claim.name
        number = claim.source.partition("arXiv ")[2][:10]
        assert number in papers[claim.of[0]].source or papers[claim.of[0]].experiment == "psu/shd", claim.name


def test_a_size_that_is_carried_over_is_the_papers():
    figures = {claim.name: claim.value for claim in EVERY if not claim.of}
    for claim in CARRIED:
        if claim.kind == "ratio":
            assert claim.value == figures[claim.of[0]], claim.name
        elif claim.kind == "difference":
            one, *other = (figures[name] for name in claim.of)
            assert claim.value == pytest.approx(one - other[0] if other else one), claim.name


@pytest.mark.parametrize("claim", CARRIED, ids=lambda claim: claim.name)
def test_its_runs_compose_under_one_recipe_and_differ_by_what_the_claim_says(claim):
    places, recipes = set(), []
    for run in claim.runs:
        words = [f"experiment={claim.experiment}", *(f"{key}={spelled(value)}" for key, value in run.items())]
        job = compose_job(words)
        check(job.config)
        assert job.config.protocol == claim.protocol == "validated"
        places.add("/".join(identity(job.config, job.choices)[:2]))
        recipes.append(
            {key: job.config[key] for key in ("optimizer", "schedule", "loss", "architecture", "augmentation")}
        )
    assert len(places) == len(claim.runs)
    assert all(recipe == recipes[0] for recipe in recipes)


def test_there_is_nothing_smaller_to_run():
    claim = CARRIED[0]
    assert needed(claim, reduced=True) == needed(claim, reduced=False)
