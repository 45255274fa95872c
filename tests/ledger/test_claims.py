"""The verdict rule and the reading of claims: every mistake in a claim is one line that names it."""

import math

import pytest

from snnrepro.errors import UserError
from snnrepro.ledger.claims import Claim, claims_of, is_reduced, judge, metric_of, read_claims

ABSENT = object()
TWO = {"run": {"neuron": "psn"}, "against": {"neuron": "lif"}}
RANKING = {"kind": "ranking", "run": [{"neuron": name} for name in ("psn", "masked_psn", "lif")], "value": None}
DIFFERENCE = {"kind": "difference", "value": 0.05, **TWO}
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


# ------------------------------------------------------------------------------------------------- the verdict

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
    assert verdict == ("blocked", (), 0, "eight GPUs")


def test_a_ratio_to_0_is_no_verdict_and_no_crash():
    verdict = judge(claim(**RATIO), [[4.0, 4.0], [0.0, 0.0]], [[], []])
    assert (verdict.state, verdict.ours) == ("not run", ())
    assert "0" in verdict.why
    assert judge(claim(**RATIO), [[], []], [[4.0], [0.0]]).state == "not run"


# ------------------------------------------------------------------------------------------------- what is counted

RECORD = {"status": "completed", "protocol": "paper", "metrics": {"test/accuracy_last_epoch": 0.9}}


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


# ------------------------------------------------------------------------------------------------- reading


def test_a_claim_is_read_with_its_sides_in_order():
    assert claim() == (
        *("paper/net", "psn/accuracy", "PSN reaches 90 %", "value", ({"neuron": "psn"},), "test/accuracy_last_epoch"),
        *(0.9, 0.01, "fraction", 2, "a log, arXiv 2304.12760", "paper", None),
    )
    assert claim().name == "paper/net/psn/accuracy"
    assert claim(**DIFFERENCE).runs == ({"neuron": "psn"}, {"neuron": "lif"})
    assert claim(**RANKING).runs == ({"neuron": "psn"}, {"neuron": "masked_psn"}, {"neuron": "lif"})
    assert (claim(**RANKING).value, claim(blocked="no data").blocked) == (None, "no data")


MISTAKES = {
    # what is wrong: (changes of the claim, what its line says)
    **{
        f"{key} missing": ({key: ABSENT}, f"{key} is missing")
        for key in ("statement", "kind", "run", "metric", "value", "tolerance", "unit", "min_seeds", "source")
    },
    **{
        f"{key} null": ({key: None}, f"{key} is missing")
        for key in ("statement", "kind", "run", "metric", "tolerance", "unit", "min_seeds", "source")
    },
    **{
        f"{key} {what}": ({key: value}, f"{key} must be a text")
        for key in ("statement", "metric", "unit", "source")
        for what, value in (("empty", ""), ("blank", "  "), ("a number", 3), ("a list", ["a"]))
    },
    "unknown key": ({"tolerence": 0.1}, "unknown key 'tolerence'; did you mean tolerance?"),
    "unknown key unlike any": ({"colour": "red"}, "unknown key 'colour'; there are: against, "),
    "unknown kind": ({"kind": "values"}, "kind is one of value, difference, ratio, ranking, got 'values'"),
    "kind a list": ({"kind": ["value"]}, "kind is one of value, difference, ratio, ranking"),
    "value null": ({"value": None}, "value must be a number"),
    "value a text": ({"value": "90 %"}, "value must be a number"),
    "value true": ({"value": True}, "value must be a number"),
    "value a list": ({"value": [0.9]}, "value must be a number"),
    "tolerance a text": ({"tolerance": "1 %"}, "tolerance must be a number"),
    "tolerance false": ({"tolerance": False}, "tolerance must be a number"),
    "tolerance negative": ({"tolerance": -0.01}, "tolerance must be a number, 0 or above, got -0.01"),
    "tolerance of a ranking negative": ({**RANKING, "tolerance": -1}, "tolerance must be a number, 0 or above"),
    **{
        f"min_seeds {seeds!r}": ({"min_seeds": seeds}, "min_seeds must be a whole number above 0")
        for seeds in (0, -1, True, 2.5, "2")
    },
    "a value with against": ({"against": {"neuron": "lif"}}, "a value has no `against`"),
    "a difference without against": ({**DIFFERENCE, "against": ABSENT}, "a difference needs `against`"),
    "a ratio without against": ({**RATIO, "against": None}, "a ratio needs `against`"),
    "a ranking of one": ({**RANKING, "run": [{"neuron": "psn"}]}, "a ranking lists at least two runs"),
    "a ranking of none": ({**RANKING, "run": []}, "a ranking lists at least two runs"),
    "a ranking of a mapping": ({**RANKING, "run": {"neuron": "psn"}}, "a ranking lists at least two runs"),
    "a ranking with a value": ({**RANKING, "value": 0.9}, "with value: null"),
    "a ranking with against": ({**RANKING, "against": {"neuron": "lif"}}, "a ranking lists at least two runs"),
    "a run that is a text": ({"run": "neuron=psn"}, "a run is a mapping of overrides"),
    "a run that is a list": ({"run": ["neuron=psn"]}, "a run is a mapping of overrides"),
    "an against that is a text": ({**DIFFERENCE, "against": "neuron=lif"}, "a run is a mapping of overrides"),
    "a ranking of texts": ({**RANKING, "run": ["psn", "lif"]}, "a run is a mapping of overrides"),
    "another protocol": ({"protocol": "test"}, "protocol is paper or validated, got 'test'"),
}


@pytest.mark.parametrize(("changes", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_that_names_experiment_and_claim(changes, says):
    with pytest.raises(UserError) as error:
        claims_of("paper/net", [entry(id="first"), entry(**changes)])
    line = str(error.value)
    assert line.startswith("experiment paper/net, claim 2 (psn/accuracy): ")
    assert says in line
    assert "\n" not in line


@pytest.mark.parametrize("changes", [{"value": math.nan}, {"tolerance": math.nan}, {"tolerance": math.inf}], ids=str)
def test_a_number_that_is_not_finite_is_a_mistake(changes):
    with pytest.raises(UserError):
        claim(**changes)


@pytest.mark.parametrize("name", [ABSENT, None, "", 3])
def test_a_claim_without_a_name_is_named_by_its_number(name):
    with pytest.raises(UserError, match=r"^experiment paper/net, claim 2\b.*: id (is missing|must be a text)"):
        claims_of("paper/net", [entry(), entry(id=name)])


@pytest.mark.parametrize("wrong", ["psn/accuracy", 3, None, ["a"]])
def test_a_claim_that_is_no_mapping_is_one_line(wrong):
    with pytest.raises(UserError, match=r"^experiment paper/net, claim 2: a claim is a mapping of id, statement"):
        claims_of("paper/net", [entry(), wrong])


@pytest.mark.parametrize("wrong", [{"id": "a"}, "text", 3])
def test_claims_that_are_no_list_are_one_line(wrong):
    with pytest.raises(UserError, match=r"^experiment paper/net: claims is a list of claims, got "):
        claims_of("paper/net", wrong)


def test_two_claims_of_one_name_are_one_line():
    with pytest.raises(UserError, match=r"^experiment paper/net: two claims have the id 'psn/accuracy'$"):
        claims_of("paper/net", [entry(), entry(id="other"), entry(value=0.8)])


CLAIM = """
claims:
  - {id: accuracy, statement: "a sentence", kind: value, run: {neuron: psn, dataset.num_steps: 4},
     metric: test/accuracy, value: 0.9, tolerance: 0.01, unit: fraction, min_seeds: 1, source: "a log"}
"""


def test_files_are_read_by_name_and_those_without_claims_give_none(tmp_path):
    (tmp_path / "psn").mkdir()
    (tmp_path / "psn" / "net.yaml").write_text(f"# @package _global_\nseed: ${{version}}\n{CLAIM}")
    (tmp_path / "block.yaml").write_text(CLAIM)
    (tmp_path / "a.yaml").write_text("seed: 3\n")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "comment.yaml").write_text("# nothing\n")
    (tmp_path / "none.yaml").write_text("claims:\n")
    (tmp_path / "list.yaml").write_text("[1, 2]\n")
    (tmp_path / "notes.txt").write_text("claims: no\n")
    claims = read_claims(tmp_path)
    assert [claim.name for claim in claims] == ["block/accuracy", "psn/net/accuracy"]
    assert claims[1].runs == ({"neuron": "psn", "dataset.num_steps": 4},)


@pytest.mark.parametrize("text", ["claims: [", "a: b: c\n", "seed: 1\nseed: 2\n", "\x00", "{"])
def test_a_file_that_is_no_yaml_is_one_line_with_its_name(tmp_path, text):
    (tmp_path / "net.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_claims(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'net.yaml'} cannot be read: ")
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text_is_one_line_with_its_name(tmp_path):
    (tmp_path / "net.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"net\.yaml cannot be read: "):
        read_claims(tmp_path)


def test_a_mistake_in_a_file_names_its_experiment(tmp_path):
    (tmp_path / "psn").mkdir()
    (tmp_path / "psn" / "net.yaml").write_text(CLAIM.replace("kind: value", "kind: worth"))
    with pytest.raises(UserError, match=r"^experiment psn/net, claim 1 \(accuracy\): kind is one of"):
        read_claims(tmp_path)
