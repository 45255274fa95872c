"""What all records and rows together say of a claim: which decide, which do not, and which are never put together."""

import itertools
import json
import shutil
from pathlib import Path

import pytest
from claimed import CLAIMS, GRID, LAYER, VALUE, leave, leave_seeds, measured_rows, row

from snnrepro.judging import judged, needed
from snnrepro.ledger.runs import Records

pytestmark = pytest.mark.usefixtures("only_our_records")


@pytest.mark.parametrize(
    ("changes", "state", "ours"),
    [
        ({}, "reproduced", [2.7]),
        ({"speedup": 2.0}, "not reproduced", [2.0]),
        ({"speedup": 27.0}, "not reproduced", [27.0]),
        ({"device_type": "cpu"}, "reduced", [2.7]),
        ({"commit": "12ab-dirty"}, "reduced", [2.7]),
        ({"checked": False}, "not run", []),
        ({"speedup": ""}, "not run", []),
        ({"speedup": "nan"}, "not run", []),
        ({"T": 16}, "not run", []),
        ({"neuron": "psn"}, "not run", []),
        ({"baseline": "compiled_loop"}, "not run", []),
    ],
    ids=str,
)
def test_a_claim_of_a_layer_is_judged_by_the_row_that_it_names(changes, state, ours):
    measured_rows("neurons_cuda", row(CLAIMS[LAYER], **changes))
    found = judged(CLAIMS[LAYER], Records([Path("runs")]))
    assert found.verdict.state == state
    assert list(found.verdict.ours) == ours
    assert [one.file.name for one in found.rows] == ["neurons_cuda.csv"] * bool(ours)


def test_of_several_forms_the_fastest_counts_and_other_machines_beside_it():
    claim = CLAIMS[LAYER]
    measured_rows("neurons_cuda", row(claim, speedup=1.0), row(claim, speedup=2.9), row(claim, speedup=2.0))
    measured_rows("neurons_cpu", row(claim, speedup=9.0, device_type="cpu"))
    found = judged(claim, Records([Path("runs")]))
    assert (found.verdict.state, found.verdict.ours) == ("reproduced", (2.9,))


def test_the_extreme_of_a_grid_is_decided_by_the_whole_grid_only():
    claim = CLAIMS[GRID]
    columns = [column for column, value in claim.runs[0].items() if isinstance(value, list)]
    assert columns == ["baseline", "pass", "T", "N"]
    points = [dict(zip(columns, point, strict=True)) for point in itertools.product(*map(claim.runs[0].get, columns))]
    least = {"baseline": "lif_multi_spike", "pass": "backward", "T": 64, "N": 400}
    rows = [row(claim, **point, speedup=0.45 if point == least else 3.0) for point in points]
    measured_rows("layers_cuda", *rows)
    assert judged(claim, Records([Path("runs")])).verdict[:2] == ("reproduced", (0.45,))
    measured_rows("layers_cuda", *rows[:-1])
    found = judged(claim, Records([Path("runs")])).verdict
    assert (found.state, found.ours, found.why) == ("reduced", (0.45,), "539 of the 540 points of its grid")


def test_rows_of_one_file_decide_and_copies_of_it_are_no_further_seeds():
    claim = CLAIMS[LAYER]
    measured_rows("a/neurons_cuda", row(claim, speedup=2.5))
    measured_rows("b/neurons_cuda", row(claim, speedup=9.0))
    found = judged(claim, Records([Path("runs")])).verdict
    assert (found.state, found.ours, found.seeds, found.interval) == ("reproduced", (2.5,), 1, None)


def test_a_run_that_decides_counts_before_one_of_the_same_identity_that_does_not():
    leave_seeds(VALUE, 0.5, 0.5, 0.5, git={"commit": "1", "dirty": True})
    Path("runs").rename("dirty")
    leave_seeds(VALUE, 0.98, 0.98, 0.98)
    for folders in (["dirty", "runs"], ["runs", "dirty"]):
        assert judged(CLAIMS[VALUE], Records(map(Path, folders))).verdict[:2] == ("reproduced", (pytest.approx(0.98),))


def test_a_record_whose_config_or_seed_is_not_that_of_its_identity_decides_nothing():
    leave_seeds(VALUE, 0.98, 0.98, 0.98)
    files = sorted(Path("runs").rglob("run.json"))
    assert judged(CLAIMS[VALUE], Records([Path("runs")])).verdict.state == "reproduced"
    whole = files[0].read_text()
    for change in (
        lambda record: record["config"]["trainer"].update(max_epochs=1),
        lambda record: record["config"].update(seed=7),
        lambda record: record["config"].update(version=99),
    ):
        record = json.loads(whole)
        change(record)
        files[0].write_text(json.dumps(record))
        found = judged(CLAIMS[VALUE], Records([Path("runs")])).verdict
        assert (found.state, found.why) == ("reduced", "its config is not that of its identity")
    files[0].write_text(whole)
    assert judged(CLAIMS[VALUE], Records([Path("runs")])).verdict.state == "reproduced"


def test_of_two_records_of_one_run_that_of_the_first_folder_counts(tmp_path):
    for folder, value in (("mine", 0.5), ("theirs", 0.98)):
        words = needed(CLAIMS[VALUE], reduced=False)[0].words
        for seed in (0, 1, 2):
            leave([*words, f"seed={seed}", f"paths.runs_dir={tmp_path / folder}"], {CLAIMS[VALUE].metric: value})
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    assert judged(CLAIMS[VALUE], Records([mine, theirs])).verdict.ours == pytest.approx([0.5])
    assert judged(CLAIMS[VALUE], Records([theirs, mine])).verdict.ours == pytest.approx([0.98])
    shutil.rmtree(mine / "block" / "yin_yang")
    assert judged(CLAIMS[VALUE], Records([mine, theirs])).verdict.ours == pytest.approx([0.98])
