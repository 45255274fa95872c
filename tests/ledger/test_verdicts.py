"""The verdict rule, by table: what counts, what decides, and how sure the numbers are."""

import pytest
from claim_entries import DIFFERENCE, LEAD, RANKING, RATIO, claim

from snnrepro.ledger.statistics import bootstrap
from snnrepro.ledger.verdicts import is_reduced, judge, metric_of, undecided_by

VERDICTS = {
    # what: (changes of the claim, full runs of each side, state, what was measured)
    "a value at the paper's": ({}, [[0.9, 0.9]], "reproduced", [0.9]),
    "a value inside by the mean of its seeds": ({}, [[0.87, 0.92]], "reproduced", [0.895]),
    "a value on the upper edge": ({}, [[0.91, 0.91]], "reproduced", [0.91]),
    "a value on the lower edge": ({}, [[0.89, 0.89]], "reproduced", [0.89]),
    "a value just above": ({}, [[0.9101, 0.9101]], "not reproduced", [0.9101]),
    "a value just below": ({}, [[0.8899, 0.8899]], "not reproduced", [0.8899]),
    "a value far better than the paper's": ({}, [[0.99, 0.99]], "not reproduced", [0.99]),
    "a value of which one seed alone is inside": ({}, [[0.9, 0.7]], "not reproduced", [0.8]),
    "a value with no tolerance, met": ({"tolerance": 0}, [[0.9, 0.9]], "reproduced", [0.9]),
    "a value with no tolerance, missed": ({"tolerance": 0}, [[0.9, 0.9002]], "not reproduced", [0.9001]),
    "more seeds than asked for, all counted": ({}, [[0.9, 0.9, 0.6]], "not reproduced", [0.8]),
    "a value of 0": ({"value": 0}, [[0.0, 0.0]], "reproduced", [0.0]),
    "a difference": (DIFFERENCE, [[0.9, 0.9], [0.85, 0.85]], "reproduced", [0.05]),
    "a difference on the edge": (DIFFERENCE, [[0.9, 0.9], [0.86, 0.86]], "reproduced", [0.04]),
    "a difference too small": (DIFFERENCE, [[0.9, 0.9], [0.87, 0.87]], "not reproduced", [0.03]),
    "a difference far larger": (DIFFERENCE, [[0.9, 0.9], [0.5, 0.5]], "not reproduced", [0.4]),
    "a difference the other way round": (DIFFERENCE, [[0.85, 0.85], [0.9, 0.9]], "not reproduced", [-0.05]),
    "a loss": ({**DIFFERENCE, "value": -0.05}, [[0.85, 0.85], [0.9, 0.9]], "reproduced", [-0.05]),
    "a difference of sides with unequal seeds": (DIFFERENCE, [[0.9, 0.9, 0.9], [0.8, 0.9]], "reproduced", [0.05]),
    "a ratio of means, not a mean of ratios": (RATIO, [[9.0, 1.0], [2.0, 0.5]], "reproduced", [4.0]),
    "a ratio on the edge": (RATIO, [[5.0, 5.0], [1.0, 1.0]], "reproduced", [5.0]),
    "a ratio outside": (RATIO, [[5.1, 5.1], [1.0, 1.0]], "not reproduced", [5.1]),
    "a ratio far better than the paper's": (RATIO, [[40.0, 40.0], [1.0, 1.0]], "not reproduced", [40.0]),
    "a ratio upside down": (RATIO, [[1.0, 1.0], [4.0, 4.0]], "not reproduced", [0.25]),
    "a ratio with 0 above": ({**RATIO, "value": 0.5}, [[0.0, 0.0], [4.0, 4.0]], "reproduced", [0.0]),
    "a ranking": ({**RANKING, "tolerance": 0}, [[0.9] * 2, [0.8] * 2, [0.7] * 2], "reproduced", [0.9, 0.8, 0.7]),
    "a ranking with two changed": (
        {**RANKING, "tolerance": 0},
        [[0.9] * 2, [0.7] * 2, [0.8] * 2],
        "not reproduced",
        [0.9, 0.7, 0.8],
    ),
    "a ranking with a tie": (
        {**RANKING, "tolerance": 0},
        [[0.9] * 2, [0.8] * 2, [0.8] * 2],
        "not reproduced",
        [0.9, 0.8, 0.8],
    ),
    "a ranking that leads by the margin and more": (
        {**RANKING, "tolerance": 0.05},
        [[0.9] * 2, [0.8] * 2, [0.7] * 2],
        "reproduced",
        [0.9, 0.8, 0.7],
    ),
    "a ranking of which one lead is within the margin": (
        {**RANKING, "tolerance": 0.05},
        [[0.9] * 2, [0.8] * 2, [0.78] * 2],
        "not reproduced",
        [0.9, 0.8, 0.78],
    ),
    "a ranking by the means of the seeds": (
        {**RANKING, "tolerance": 0},
        [[0.9, 0.5], [0.6, 0.6], [0.1, 0.8]],
        "reproduced",
        [0.7, 0.6, 0.45],
    ),
}


@pytest.mark.parametrize(("changes", "full", "state", "ours"), VERDICTS.values(), ids=VERDICTS)
def test_verdict_on(changes, full, state, ours):
    verdict = judge(claim(**changes), full, [[] for _ in full])
    assert (verdict.state, verdict.why) == (state, "")
    assert verdict.ours == pytest.approx(ours)
    assert verdict.seeds == min(map(len, full))


@pytest.mark.parametrize(
    ("changes", "full", "why"),
    [
        ({}, [[]], ""),
        ({}, [[0.9]], "1 of 2 seeds"),
        ({"min_seeds": 3}, [[0.9, 0.9]], "2 of 3 seeds"),
        (DIFFERENCE, [[0.9, 0.9], []], ""),
        (DIFFERENCE, [[0.9, 0.9, 0.9], [0.85]], "1 of 2 seeds"),
        (RANKING, [[0.9] * 2, [0.8] * 2, [0.7]], "1 of 2 seeds"),
    ],
)
def test_too_few_seeds_on_any_side_are_not_run_and_give_no_number(changes, full, why):
    verdict = judge(claim(**changes), full, [[] for _ in full])
    assert (verdict.state, verdict.ours, verdict.why) == ("not run", (), why)


def test_reduced_runs_decide_nothing_however_well_they_fit():
    verdict = judge(claim(), [[]], [[0.9]])
    assert (verdict.state, verdict.seeds) == ("reduced", 1)
    assert verdict.ours == (0.9,)
    assert verdict.why


def test_reduced_runs_of_every_side_are_wanted():
    assert judge(claim(**DIFFERENCE), [[], []], [[0.9], []]).state == "not run"
    assert judge(claim(**DIFFERENCE), [[], []], [[0.9], [0.85]]).state == "reduced"
    # A full run does not stand in for a reduced one of the other side.
    assert judge(claim(**DIFFERENCE), [[0.9, 0.9], []], [[], [0.85]]).state == "not run"


def test_full_runs_are_judged_alone_where_reduced_ones_lie_beside_them():
    verdict = judge(claim(), [[0.9, 0.9]], [[0.1, 0.1, 0.1]])
    assert (verdict.state, verdict.seeds) == ("reproduced", 2)
    assert verdict.ours == (0.9,)


def test_too_few_full_runs_beside_reduced_ones_are_reduced_by_those_alone():
    verdict = judge(claim(), [[0.9]], [[0.5]])
    assert (verdict.state, verdict.ours, verdict.seeds) == ("reduced", (0.5,), 1)


@pytest.mark.parametrize("full", [[[]], [[0.9, 0.9]]])
def test_a_blocked_claim_stays_blocked_and_says_why_whatever_was_run(full):
    verdict = judge(claim(blocked="eight GPUs"), full, [[0.9]])
    assert verdict == ("blocked", (), 0, "eight GPUs", None)


def test_a_ratio_to_0_is_no_verdict_and_no_crash():
    verdict = judge(claim(**RATIO), [[4.0, 4.0], [0.0, 0.0]], [[], []])
    assert (verdict.state, verdict.ours) == ("not run", ())
    assert "0" in verdict.why
    assert judge(claim(**RATIO), [[], []], [[4.0], [0.0]]).state == "not run"


# ------------------------------------------------------------------------------------------------- what is counted

RECORD = {
    "status": "completed",
    "protocol": "paper",
    "metrics": {"test/accuracy_last_epoch": 0.9},
    "config": {},
    "git": {"commit": "1234567", "dirty": False},
}


def test_a_completed_run_counts():
    assert metric_of(RECORD, claim()) == 0.9
    assert metric_of({**RECORD, "metrics": {"test/accuracy_last_epoch": 1}}, claim()) == 1.0


@pytest.mark.parametrize("status", ["running", "failed", "interrupted", None])
def test_a_run_that_did_not_complete_does_not_count(status):
    assert metric_of({**RECORD, "status": status}, claim()) is None


def test_a_run_of_the_other_protocol_does_not_count():
    assert metric_of({**RECORD, "protocol": "validated"}, claim()) is None
    assert metric_of(RECORD, claim(protocol="validated")) is None
    assert metric_of({**RECORD, "protocol": "validated"}, claim(protocol="validated")) == 0.9


@pytest.mark.parametrize(
    "record",
    [
        {**RECORD, "metrics": {}},
        {**RECORD, "metrics": {"test/accuracy_last_epoch": None}},
        {**RECORD, "metrics": {"test/accuracy_last_epoch": None}, "nonfinite": ["test/accuracy_last_epoch"]},
        {**RECORD, "metrics": {"test/accuracy_last_epoch": "0.9"}},
        {**RECORD, "metrics": {"test/accuracy_last_epoch": True}},
        {"status": "completed", "protocol": "paper"},
    ],
    ids=["no such metric", "null", "NaN, listed as null", "text", "bool", "no metrics"],
)
def test_a_metric_that_is_no_number_does_not_count(record):
    assert metric_of(record, claim()) is None


@pytest.mark.parametrize(
    ("facts", "reduced"),
    [
        ({}, False),
        ({"reduced": None, "data": None}, False),
        ({"data": {"partial": False}}, False),
        ({"data": {"partial": True}}, True),
        ({"reduced": "14 of 140 epochs"}, True),
        ({"reduced": "14 of 140 epochs", "data": {"partial": True}}, True),
    ],
)
def test_a_run_is_reduced_by_its_scale_or_by_data_that_are_not_whole(facts, reduced):
    assert is_reduced({**RECORD, **facts}) is reduced


@pytest.mark.parametrize(
    ("facts", "changes", "why"),
    [
        ({}, {}, None),
        ({"git": {"commit": None, "dirty": None}}, {}, "no known commit"),
        ({"git": None}, {}, "no known commit"),
        ({"config": {"measure": {"training_spikes": True}}}, {}, None),
        ({"config": {"measure": {"training_spikes": True}}, "device": {"type": "cuda"}}, {"device": "cuda"}, "counted"),
        ({"git": {"dirty": True}}, {}, "uncommitted"),
        ({"reduced": "14 of 140 epochs"}, {}, "smaller scale"),
        ({"device": {"type": "cpu"}}, {}, None),
        ({"device": {"type": "cpu"}}, {"device": "cpu"}, None),
        ({"device": {"type": "cpu"}}, {"device": "cuda"}, "measured on cpu, the claim is of cuda"),
        ({"device": {"type": "cuda"}}, {"device": "cuda"}, None),
        ({"device": None}, {"device": "cuda"}, "an unknown device"),
    ],
)
def test_a_run_decides_by_its_scale_its_commit_and_for_times_its_device(facts, changes, why):
    found = undecided_by({**RECORD, **facts}, claim(**changes))
    assert found is None if why is None else why in found


def test_uncommitted_changes_decide_where_the_user_says_so():
    assert undecided_by({**RECORD, "git": {"dirty": True}}, claim(), allow_dirty=True) is None
    assert undecided_by({**RECORD, "git": {}}, claim(), allow_dirty=True) is None
    assert undecided_by({**RECORD, "git": {"dirty": True}, "reduced": "x"}, claim(), allow_dirty=True) is not None


# ------------------------------------------------------------------------------------------------- intervals


def test_the_interval_of_a_mean_over_three_seeds_is_their_smallest_and_largest():
    assert bootstrap([[0.9, 0.5, 0.7]]) == pytest.approx((0.5, 0.9))


def test_the_interval_narrows_with_seeds_as_the_standard_error_does():
    values = [0.01 * k for k in range(101)]  # deviation 0.2915, standard error 0.029
    low, high = bootstrap([values])
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.029, 0.5 + 1.96 * 0.029), abs=0.004)


def test_one_seed_of_any_side_has_no_interval():
    assert bootstrap([[0.9]]) is None
    assert judge(claim(min_seeds=1), [[0.9]], [[]]).interval is None
    assert judge(claim(**DIFFERENCE, min_seeds=1), [[0.9, 0.8], [0.7]], [[], []]).interval is None


def test_equal_seeds_have_an_interval_of_no_width_and_the_same_values_the_same_interval():
    assert bootstrap([[0.9, 0.9, 0.9]]) == (0.9, 0.9)
    assert bootstrap([[0.1, 0.7, 0.4, 0.9]]) == bootstrap([[0.1, 0.7, 0.4, 0.9]])


def test_a_difference_and_a_ratio_resample_each_side_by_itself():
    difference = judge(claim(**DIFFERENCE), [[0.9, 0.8], [0.5, 0.4]], [[], []])
    assert difference.interval == pytest.approx((0.3, 0.5))
    ratio = judge(claim(**RATIO), [[8.0, 4.0], [2.0, 1.0]], [[], []])
    assert ratio.interval == pytest.approx((2.0, 8.0))


def test_a_ratio_whose_resamples_reach_0_and_a_ranking_have_no_interval():
    assert judge(claim(**RATIO), [[8.0, 4.0], [0.0, 1.0]], [[], []]).interval is None
    assert judge(claim(**RANKING), [[0.9, 0.8], [0.5, 0.4], [0.1, 0.2]], [[], [], []]).interval is None


def test_the_interval_decides_nothing():
    # It holds the paper's value; the mean lies outside the tolerance.
    verdict = judge(claim(), [[0.95, 0.88]], [[]])
    assert verdict.interval == pytest.approx((0.88, 0.95))
    assert verdict.state == "not reproduced"


CARRIED_OVER = {"of": ["psn/seq_cifar10/psn_over_lif"]}


@pytest.mark.parametrize(
    ("run", "against", "state"),
    [
        ([0.90, 0.91, 0.92], [0.80, 0.81, 0.82], "holds"),
        ([0.80, 0.81, 0.82], [0.90, 0.91, 0.92], "does not hold"),
        ([0.90, 0.91, 0.92], [0.89, 0.91, 0.92], "undecided"),  # ahead by its mean, but by less than seeds differ
        ([0.9, 0.9], [0.8, 0.8], "holds"),  # seeds that do not differ at all
        ([0.9, 0.9], [0.9, 0.9], "undecided"),
    ],
)
def test_a_lead_holds_only_where_seeds_cannot_explain_it(run, against, state):
    verdict = judge(claim(**LEAD, **CARRIED_OVER), [run, against], [[], []])
    assert verdict.state == state
    assert verdict.ours == pytest.approx([sum(run) / len(run) - sum(against) / len(against)])


def test_the_interval_of_a_lead_is_welchs():
    """By hand: the textbook's standard error and degrees of freedom, t from a table of quantiles."""
    run, against = [2.0, 4.0, 6.0], [1.0, 1.0, 2.0, 0.0]
    # variances 4 and 2/3: error sqrt(4/3 + 1/6), freedom 1.5^2 / ((4/3)^2/2 + (1/6)^2/3) = 2.505
    low, high = judge(claim(**LEAD), [run, against], [[], []]).interval
    assert (low + high) / 2 == pytest.approx(3)
    assert (high - low) / 2 / 1.5**0.5 == pytest.approx(3.569, abs=1e-3)


def test_a_claim_of_a_paper_and_one_that_was_carried_over_are_told_apart():
    assert judge(claim(), [[0.9, 0.9]], [[]]).state == "reproduced"
    assert judge(claim(**CARRIED_OVER), [[0.9, 0.9]], [[]]).state == "holds"
    assert judge(claim(**CARRIED_OVER), [[0.8, 0.8]], [[]]).state == "does not hold"
    assert judge(claim(**CARRIED_OVER), [[0.9]], [[]]).state == "not run"
