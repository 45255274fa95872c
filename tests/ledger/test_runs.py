"""Reading what was measured: all records and rows, the broken ones named; runs taken together over their seeds."""

import json
import math

import pytest
from records import CURVES, leave, record

from snnrepro.ledger.groups import groups, metric_value, paper_of
from snnrepro.ledger.runs import Records, read


def test_every_record_below_the_folders_is_read_once_and_placed_by_its_identity(tmp_path):
    for seed in (0, 1):
        leave(tmp_path / "runs", record(seed=seed), CURVES)
    leave(tmp_path / "results", record("psn/seq_cifar10/lif-00000000", experiment="psn/seq_cifar10"))
    records = Records([tmp_path / "runs", tmp_path / "runs" / "digits-dense", tmp_path / "results"])
    assert [run.seed for run in records.runs] == [0, 1, 0]
    assert {place: set(seeds) for place, seeds in records.by_place.items()} == {
        "digits-dense/psu-12345678": {0, 1},
        "psn/seq_cifar10/lif-00000000": {0},
    }
    assert records.experiments == {"psn/seq_cifar10"}
    assert records.broken == []
    assert [row["validation/accuracy"] for row in records.runs[0].curves()] == ["0.4", "0.7"]


def test_of_runs_of_one_identity_completed_ones_count_then_clean_ones_then_the_folder_named_first(tmp_path):
    leave(tmp_path / "a", record(status="failed"))
    leave(tmp_path / "b", record(command="b"))
    leave(tmp_path / "c", record(command="c"))
    leave(tmp_path / "d", record(command="d", git={"commit": "1", "dirty": True}))
    for order, wanted in (("abcd", "b"), ("dcba", "c")):
        records = Records([tmp_path / name for name in order])
        (alike,) = records.by_place["digits-dense/psu-12345678"].values()
        assert alike[0].record["command"] == wanted
        assert alike[-1].record["status"] == "failed"
        assert len(records.runs) == 4


BROKEN = {
    "half a file": ('{"status": "comp', "no JSON"),
    "nothing": ("", "no JSON"),
    "a list": ("[]", "no record of a run"),
    "no identity": (json.dumps({"status": "completed", "metrics": {}, "config": {}}), "no identity"),
    "an identity that is none": (json.dumps(record() | {"identity": "seed0"}), "no identity"),
    "a seed that is none": (json.dumps(record() | {"identity": "a/b-1/seedx"}), "no identity"),
    "no status": (json.dumps(record() | {"status": None}), "no status"),
    "no metrics": (json.dumps(record() | {"metrics": None}), "no metrics"),
    "no config": (json.dumps(record() | {"config": []}), "no config"),
    "no neuron": (json.dumps(record() | {"neuron": None}), "no neuron"),
    "no protocol": (json.dumps(record() | {"protocol": 3}), "no protocol"),
    "counters that are a list": (json.dumps(record() | {"counters": []}), "counters is no mapping"),
    "counters of texts": (
        json.dumps(record() | {"counters": {"rows": ["a"]}}),
        "counters: rows is no list of mappings",
    ),
    "a layer that is null": (json.dumps(record() | {"layers": {"n": None}}), "layers: n is no mapping"),
    "a layer of texts": (json.dumps(record() | {"layers": {"n": {"silent": "x"}}}), "layers: n.silent is no number"),
    "operations of texts": (json.dumps(record() | {"operations": {"a": "x"}}), "operations: a is no number"),
    "shares that are a list": (json.dumps(record() | {"others_cpu_share": [1]}), "others_cpu_share is no mapping"),
    "a device that is a text": (json.dumps(record() | {"device": "cpu"}), "device is no mapping"),
    "a metric that is a text": (json.dumps(record() | {"metrics": {"test/loss": "low"}}), "test/loss is no number"),
    "bytes": (b"\xff\xfe\x00", "no JSON"),
}


@pytest.mark.parametrize(("text", "why"), BROKEN.values(), ids=BROKEN)
def test_a_broken_record_is_named_with_what_is_wrong_and_passed_over(text, why, tmp_path):
    leave(tmp_path, record())
    file = tmp_path / "broken" / "run.json"
    file.parent.mkdir()
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    records = Records([tmp_path])
    assert [found.file for found in records.broken] == [file]
    assert records.broken[0].why.startswith(why)
    assert len(records.runs) == 1


def test_nan_and_infinity_in_a_record_are_no_numbers(tmp_path):
    found = record(metrics={"test/accuracy": math.nan, "test/loss": math.inf, "test/firing_rate": 0.1})
    folder = leave(tmp_path, found)
    assert "NaN" in (folder / "run.json").read_text()
    assert read(folder / "run.json")["metrics"] == {"test/accuracy": None, "test/loss": None, "test/firing_rate": 0.1}


def test_rows_of_benchmarks_are_numbers_where_they_are_and_keep_their_file(tmp_path):
    file = tmp_path / "benchmarks" / "neurons_cpu.csv"
    file.parent.mkdir()
    file.write_text("benchmark,neuron,T,speedup,checked,note\nneurons,psn,4,2.5,True,\nneurons,lif,8,nan,False,x\n")
    (tmp_path / "benchmarks" / "old_cpu.csv").write_text("neuron,T\npsn,4\n")
    (tmp_path / "benchmarks" / "empty_cpu.csv").write_text("")
    records = Records([tmp_path])
    first, second = records.rows["neurons"]
    assert first.values == {
        "benchmark": "neurons", "neuron": "psn", "T": 4.0, "speedup": 2.5, "checked": True, "note": None,
    }  # fmt: skip
    assert (second.values["speedup"], second.values["checked"]) == (None, False)
    assert first.file == file
    assert [row.values for row in records.rows["old"]] == [{"neuron": "psn", "T": 4.0}]
    assert [found.why for found in records.broken] == ["no rows"]


def test_seeds_of_one_config_are_a_group_and_uncommitted_changes_are_apart(tmp_path):
    for seed in (2, 0, 1):
        leave(tmp_path, record(seed=seed))
    leave(tmp_path, record(seed=3, git={"commit": "1", "dirty": True}))
    leave(tmp_path, record("digits-dense/psu-87654321"))
    leave(tmp_path, record(seed=4, status="failed", metrics={}))
    found = groups(Records([tmp_path]).runs)
    assert [(group.place, group.dirty, [run.seed for run in group.runs]) for group in found] == [
        ("digits-dense/psu-12345678", False, [0, 1, 2, 4]),
        ("digits-dense/psu-12345678", True, [3]),
        ("digits-dense/psu-87654321", False, [0]),
    ]
    summary = found[0].summary("accuracy")
    assert summary is not None
    assert (summary.mean, summary.seeds) == (pytest.approx(0.91), 3)
    assert summary.interval == pytest.approx((0.9, 0.92))
    assert found[2].summary("accuracy").interval is None
    assert found[0].summary("test/loss") is None


def test_partial_data_another_device_and_another_cost_model_are_groups_of_their_own(tmp_path):
    leave(tmp_path, record(seed=0))
    leave(tmp_path, record(seed=1, data={"partial": True}))
    leave(tmp_path, record(seed=2, device={"type": "cuda", "name": "a GPU"}))
    leave(tmp_path, record(seed=3, cost_model="horowitz_45nm_int8"))
    found = groups(Records([tmp_path]).runs)
    assert len(found) == 4
    assert [[run.seed for run in group.runs] for group in found] == [[0], [3], [2], [1]]
    assert (found[3].partial, found[2].device, found[1].cost_model) == (True, "cuda", "horowitz_45nm_int8")


def test_the_accuracy_of_a_record_is_that_of_its_own_protocol():
    paper = {"test/accuracy": None, "test/accuracy_best_epoch": 0.9, "test/accuracy_last_epoch": 0.8}
    assert metric_value(record(protocol="paper", metrics=paper), "accuracy") == 0.8
    assert metric_value(record(), "accuracy") == 0.9
    assert metric_value(record(metrics={}), "accuracy") is None
    assert metric_value(record(), "parameters") == 1000


@pytest.mark.parametrize(
    ("experiment", "paper"), [("psn/seq_cifar10", "PSN"), ("block_v1/shd", "Block v1"), (None, ""), ("mine/x", "mine")]
)
def test_a_run_is_of_the_paper_whose_experiment_it_is(experiment, paper):
    assert paper_of(record(experiment=experiment)) == paper
