"""The reading of claims: every mistake in one is a line that names it."""

import math

import pytest
from claim_entries import ABSENT, DIFFERENCE, LEAD, RANKING, RATIO, claim, entry

from snnrepro.errors import UserError
from snnrepro.ledger.claims import claims_of, read_claims


def test_a_claim_is_read_with_its_sides_in_order():
    assert claim() == (
        *("paper/net", "psn/accuracy", "PSN reaches 90 %", "value", ({"neuron": "psn"},), "test/accuracy_last_epoch"),
        *(0.9, 0.01, "fraction", 2, "a log, arXiv 2304.12760", "paper", None, None, None, None, ()),
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
    "unknown kind": ({"kind": "values"}, "kind is one of value, difference, ratio, ranking, lead, got 'values'"),
    "kind a list": ({"kind": ["value"]}, "kind is one of value, difference, ratio, ranking, lead"),
    "a lead with a value": ({**LEAD, "value": 0.05}, "a lead is of runs and has value: null"),
    "a lead with a tolerance": ({**LEAD, "tolerance": 0.01}, "a lead is of runs and has value: null"),
    "a lead of one seed": ({**LEAD, "min_seeds": 1}, "a lead needs min_seeds of 2 or more, got 1"),
    "a lead against nothing": ({**LEAD, "against": None}, "a lead needs `against`"),
    "of a text": ({"of": "psn/seq_cifar10/ranking"}, "of is a list of the names of other claims"),
    "of nothing": ({"of": []}, "of is a list of the names of other claims, got []"),
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
    "another device": ({"device": "gpu"}, "device is cuda or cpu, got 'gpu'"),
    "another choice of rows": ({"over": "mean"}, "over is one of max, min, median, got 'mean'"),
    "a benchmark that is no name": ({"benchmark": 3}, "benchmark is the name of one, got 3"),
    "a ratio of a benchmark": ({**RATIO, "benchmark": "neurons"}, "a claim of a benchmark is a value"),
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
