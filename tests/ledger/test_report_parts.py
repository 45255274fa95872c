"""Tables for people and papers, REPORT.md and the page's data, from records that say much, little or nonsense."""

import csv
import io
import json
import math
import re
from pathlib import Path

import pytest
from claim_entries import RANKING, claim
from records import CURVES, leave, record

from snnrepro.ledger.columns import COLUMNS
from snnrepro.ledger.formats import TextTable
from snnrepro.ledger.groups import groups
from snnrepro.ledger.page import page
from snnrepro.ledger.page_data import page_data
from snnrepro.ledger.report_text import Price, report_text
from snnrepro.ledger.runs import Judged, Records
from snnrepro.ledger.summaries import claims_summary, runs_summary, runs_values
from snnrepro.ledger.verdicts import Verdict, judge

HOSTILE = "<img src=x onerror=alert(1)> | & $x_1$ {%} \\ `*"
MADE = {"commit": "1234567", "dirty": False, "command": "make report"}


@pytest.fixture
def ledger(tmp_path):
    """Three seeds, a failed run, one that tells nothing, one with NaN, one of a hostile name, and a broken file."""
    runs = tmp_path / "runs"
    for seed in range(3):
        leave(runs, record(seed=seed), CURVES)
    leave(runs, record("digits-dense/lif-11111111", status="failed", error=HOSTILE, metrics={}))
    leave(
        runs,
        {
            "identity": "a/bare-0/seed0",
            "status": "running",
            "neuron": "bare",
            "protocol": "x",
            "metrics": {},
            "config": {},
        },
    )
    leave(runs, record("digits-dense/nan-22222222", metrics={"test/accuracy": math.nan}), "epoch,loss\nnone,nan\n")
    strange = record("digits-dense/odd-33333333", neuron=HOSTILE, dataset=HOSTILE)
    leave(runs, strange | {"config": {"neuron": {"_target_": HOSTILE}}, "reduced": HOSTILE}, CURVES)
    (runs / "run.json").write_text("{")
    return Records([runs])


def verdicts(records: Records) -> list[Judged]:
    value = claim(protocol="validated", metric="test/accuracy")
    behind = tuple(run for run in records.runs if run.place.endswith("12345678"))
    return [
        Judged(value, judge(value, [[0.9, 0.91, 0.92]], [[]]), behind, ()),
        Judged(claim(**RANKING), judge(claim(**RANKING), [[], [], []], [[], [], []]), (), ()),
        Judged(claim(blocked="eight | GPUs"), Verdict("blocked", (), 0, "eight | GPUs"), (), ()),
    ]


def test_a_table_in_three_forms_holds_the_same_cells_and_keeps_text_text():
    table = TextTable(["a", "b, %"], [[HOSTILE, "1,000"], ["plain", "2"]], frozenset({1}))
    markdown = table.markdown().splitlines()
    assert markdown[1] == "| --- | ---: |"
    assert markdown[2].count(" | ") == 1  # the cell's own bar is escaped
    assert "<" not in markdown[2]
    assert list(csv.reader(io.StringIO(table.csv()))) == [["a", "b, %"], [HOSTILE, "1,000"], ["plain", "2"]]
    latex = table.latex()
    assert latex.startswith("\\begin{tabular}{lr}\n\\toprule\na & b, \\% \\\\\n\\midrule\n")
    row = latex.splitlines()[4]
    assert len(re.findall(r"(?<!\\)&", row)) == 1
    assert re.findall(r"(?<!\\)[$%#_]", row) == []
    assert r"\textbackslash{}" in row
    assert r"\textless{}img" in row


def test_a_row_for_each_config_gives_mean_interval_and_seeds_and_nothing_for_what_did_not_complete(ledger):
    table = runs_summary(groups(ledger.runs), ["accuracy", "test/energy_pj_per_sample"])
    rows = {row[1]: row for row in table.rows}
    assert rows["psu"] == ["digits-dense", "psu", "3", "91.00 [90.00, 92.00]", "740 nJ [740 nJ, 740 nJ]"]
    assert rows["nan"][3:] == ["–", "–"]
    assert rows[HOSTILE][0].endswith("(reduced)")
    assert "lif" not in rows
    assert "bare" not in rows


def test_speeds_beside_other_work_are_marked_and_the_rest_is_not(tmp_path):
    leave(tmp_path, record(seed=0, others_cpu_share={"fit": 0.01, "speed": None}))
    leave(tmp_path, record("digits-dense/lif-11111111", others_cpu_share={"fit": 0.01, "speed": 0.3}))
    table = runs_summary(groups(Records([tmp_path]).runs), ["accuracy", "train/samples_per_second"])
    assert {row[1]: row[3:] for row in table.rows} == {"psu": ["90.00", "9,000"], "lif": ["90.00", "9,000 †"]}
    assert r"9,000 \textdagger{}" in table.latex()


def test_a_metric_that_some_seeds_lack_says_of_how_many_it_is(tmp_path):
    leave(tmp_path, record(seed=0))
    leave(tmp_path, record(seed=1, metrics={"test/accuracy": 0.8}))
    (row,) = runs_summary(groups(Records([tmp_path]).runs), ["accuracy", "test/firing_rate"]).rows
    assert row[2:] == ["2", "85.00 [80.00, 90.00]", "0.2 (1 of 2)"]


def test_values_for_other_programs_are_plain_numbers_with_bounds(ledger):
    table = runs_values(groups(ledger.runs), [column.metric for column in COLUMNS])
    row = dict(zip(table.columns, next(row for row in table.rows if row[2] == "psu"), strict=True))
    assert (row["seeds"], row["accuracy"], row["accuracy_low"], row["accuracy_high"]) == ("3", "0.91", "0.9", "0.92")
    assert row["speed/neuron_vs_lif_loop"] == ""
    assert [name for name in table.columns if name.endswith("_low")] == [f"{c.metric}_low" for c in COLUMNS]


def test_claims_come_with_value_tolerance_ours_and_verdict(ledger):
    rows = claims_summary(verdicts(ledger)).rows
    assert rows[0][:4] == ["paper/net/psn/accuracy", "paper", "90.00 %", "within 1 points"]
    assert rows[0][4:] == ["91.00 % [90.00 %, 92.00 %]", "3", "reproduced"]
    assert rows[1][2:] == ["psn > masked_psn > lif", "each ahead by more than 1 points", "–", "–", "not run"]


def test_the_report_links_every_verdict_to_its_records_and_names_what_was_passed_over(ledger, tmp_path):
    text = report_text(ledger, verdicts(ledger), [], tmp_path / "out")
    assert "✔ 1 reproduced, ✘ 0 not reproduced, △ 0 reduced, ○ 1 not run, ■ 1 blocked; 3 in all." in text
    links = re.findall(r"\]\((\.\./[^)]*run\.json)\)", text)
    assert len(links) == 3
    assert all((tmp_path / "out" / link).resolve().is_file() for link in links)
    assert "## Passed over (1)" in text
    assert "`../runs/run.json`: no JSON" in text
    assert "blocked: eight \\| GPUs" in text
    assert "<img" not in text


def test_the_report_prices_a_run_under_every_cost_model_beside_an_ann_of_its_shape(ledger, tmp_path):
    prices = [Price(ledger.runs[0], {"a": 2e3, "b": 0.0}, {"a": 1e3, "b": 5.0})]
    text = report_text(ledger, [], prices, tmp_path)
    row = next(line for line in text.splitlines() if line.startswith(f"| {ledger.runs[0].place} | 2 nJ"))
    assert row.endswith("| 2 nJ (0.5 x) | 0 pJ (–) |")


def test_the_pages_data_is_json_with_links_that_lead_somewhere(ledger, tmp_path):
    data = page_data(ledger, verdicts(ledger), tmp_path / "out", MADE)
    json.dumps(data, allow_nan=False)
    assert len(data["runs"]) == len(ledger.runs) == 7
    for run in data["runs"]:
        assert (tmp_path / "out" / run["link"]).resolve().is_file()
        assert set(run["metrics"]) == {column.metric for column in COLUMNS}
    assert [data["runs"][index]["seed"] for index in data["claims"][0]["runs"]] == [0, 1, 2]
    psu = next(run for run in data["runs"] if run["neuron"] == "psu")
    assert psu["curve"] == {"epochs": [1, 2], "accuracy": [0.4, 0.7], "train": [0.3, 0.6], "loss": [2.0, 1.0]}
    assert psu["layers"] == [{"name": "neuron1", "rate": 0.2, "silent": 0.1, "saturated": 0.0}]
    assert [run["curve"] for run in data["runs"] if run["neuron"] in ("bare", "nan", "lif")] == [None] * 3
    assert data["broken"] == [{"file": "../runs/run.json", "why": "no JSON"}]


def test_the_page_shows_one_run_of_each_identity_and_keeps_uncommitted_ones_apart(tmp_path):
    for folder in ("a", "b"):
        leave(tmp_path / folder, record(seed=0))
    leave(tmp_path / "a", record(seed=1, git={"commit": "1", "dirty": True}))
    data = page_data(Records([tmp_path / "a", tmp_path / "b"]), [], tmp_path, MADE)
    assert [(run["group"], run["link"]) for run in data["runs"]] == [
        ("digits-dense/psu-12345678", "a/digits-dense/psu-12345678/seed0/run.json"),
        ("digits-dense/psu-12345678 (uncommitted changes)", "a/digits-dense/psu-12345678/seed1/run.json"),
    ]


def test_speed_ups_that_failed_their_check_are_shown_as_such_and_nonsense_is_not(tmp_path):
    file = tmp_path / "benchmarks" / "neurons_cpu.csv"
    file.parent.mkdir()
    head = "benchmark,neuron,kernel,auto,baseline,pass,T,N,dtype,device,threads,speedup,checked\n"
    row = "neurons,psn,torch,{auto},loop,forward,{T},256,float32,a CPU,{threads},{speedup},True\n"
    file.write_text(
        head
        + row.format(auto=True, T=4, threads=2, speedup=2.5)
        + row.format(auto=True, T=8, threads="x", speedup="")
        + row.format(auto=True, T="abc", threads=2, speedup=1)
        + row.format(auto=False, T=4, threads=2, speedup=9)
    )
    leave(tmp_path, record())
    found = page_data(Records([tmp_path]), [], tmp_path, MADE)["speedups"]
    assert [(row["T"], row["speedup"], row["threads"]) for row in found] == [(4, 2.5, 2), (8, None, None)]


def test_configs_are_told_apart_by_what_differs_and_seeds_by_nothing(ledger, tmp_path):
    data = page_data(ledger, [], tmp_path, MADE)
    of = {run["id"]: run["config"] for run in data["runs"]}
    assert of["digits-dense/psu-12345678/seed0"] == of["digits-dense/psu-12345678/seed2"]
    assert data["configs"]["common"]["neuron._target_"] == "PSU"
    odd = data["configs"]["own"][of["digits-dense/odd-33333333/seed0"]]
    assert odd == {"neuron._target_": HOSTILE, "neuron.tau": "", "version": ""}


def test_rates_over_time_are_those_of_all_layers_weighted_by_their_neurons(tmp_path):
    layers = {"a": {"firing_rate": 0.2, "neurons": 30}, "b": {"firing_rate": 0.4, "neurons": 10}, "linear": {"acs": 1}}
    folder = leave(tmp_path, record(layers=layers))
    (folder / "rates.csv").write_text("step,a,b\n0,0.1,0.5\n1,0.3,0.3\n")
    leave(tmp_path, record(seed=1))  # without the file
    runs = page_data(Records([tmp_path]), [], tmp_path, MADE)["runs"]
    assert [run["rates"] for run in runs] == [{"steps": [0, 1], "rate": [0.2, 0.3]}, None]


def test_long_curves_are_thinned_to_what_a_screen_shows_first_and_last_kept(tmp_path):
    rows = "\n".join(f"{epoch},{epoch / 1000}" for epoch in range(1000))
    leave(tmp_path, record(), f"epoch,validation/accuracy\n{rows}\n")
    (run,) = page_data(Records([tmp_path]), [], tmp_path, MADE)["runs"]
    assert len(run["curve"]["epochs"]) <= 100
    assert (run["curve"]["epochs"][0], run["curve"]["epochs"][-1]) == (1, 1000)
    assert run["curve"]["accuracy"][-1] == 0.999
    assert set(run["curve"]["train"]) == {None}


@pytest.mark.slow
def test_a_page_of_two_thousand_runs_is_written_whole(tmp_path):
    for number in range(2000):
        place = f"group{number % 20}-dense/neuron{number % 7}-{number // 3:08d}"
        leave(tmp_path / "runs", record(place, number % 3), CURVES)
    records = Records([tmp_path / "runs"])
    data = page_data(records, verdicts(records), tmp_path, MADE)
    text = page(data)
    assert len(data["runs"]) == 2000
    assert len(text) < 8e6
    assert Path(tmp_path / data["runs"][-1]["link"]).is_file()
