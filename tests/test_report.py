"""scripts/report.py as a user sees it: what it writes, prints, refuses, and hands to Weights & Biases."""

import csv
import io
import json
import re

import pytest
from offline_wandb import offline_runs

from snnrepro.config.check import CONFIGS
from snnrepro.ledger.claims import read_claims


@pytest.fixture
def runs(train, tmp_path):
    """Two neurons, two seeds of one of them, on digits."""
    words = ["trainer.max_epochs=2", "dataset.train_samples=256"]
    assert train("-m", *words, "neuron=lif,psu")[0] == 0
    assert train(*words, "neuron=psu", "seed=1")[0] == 0
    return tmp_path / "runs"


@pytest.mark.slow
def test_report_writes_verdicts_runs_page_and_curves_and_names_broken_records(runs, tmp_path, script):
    broken = runs / "broken"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    done = script("report.py", str(runs), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [f"passed over, no JSON: {broken / 'run.json'}"]
    text = (tmp_path / "out" / "REPORT.md").read_text()
    claims = read_claims(CONFIGS / "experiment")
    assert all(f"`{claim.name}`" in text for claim in claims)
    assert re.search(r"\| digits-dense[^|]* \| psu \| 2 \| \d+\.\d+ \[", text)
    assert "## Passed over (1)" in text
    # Energy under each cost model, and four counters of each net.
    assert text.count("| digits-dense/psu-") == 1 + 4
    for counter in ("snnrepro", "NeuroBench 2.3.0", "syops 0.0.5", "spikingjelly 2.0.0"):
        assert f"*{counter}* leaves out" in text
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count("digits-dense/psu-") >= 2
    assert (tmp_path / "out" / "curves-runs-digits-dense.png").read_bytes().startswith(b"\x89PNG")
    assert f"{len(claims)} claims" in done.stdout
    assert not list((tmp_path / "out").glob("*.partial"))
    assert script("report.py", str(runs), "--no-plots", "--out", str(tmp_path / "plain")).returncode == 0
    assert sorted(file.name for file in (tmp_path / "plain").iterdir()) == ["REPORT.md", "report.html"]


def test_tables_for_papers_and_programs_are_printed_and_nothing_is_written(runs, tmp_path, script):
    before = sorted(tmp_path.rglob("*"))
    latex = script("report.py", str(runs), "--latex", "--metrics", "accuracy,test/firing_rate").stdout
    assert latex.startswith("\\begin{tabular}{llrrr}")
    assert latex.count(r" \\") == 3
    table = script("report.py", str(runs), "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(table)))
    assert {(row["neuron"], row["seeds"]) for row in rows} == {("lif", "1"), ("psu", "2")}
    psu = next(row for row in rows if row["neuron"] == "psu")
    of_seeds = [json.loads(file.read_text())["metrics"]["test/accuracy"] for file in runs.rglob("psu-*/*/run.json")]
    assert float(psu["accuracy"]) == pytest.approx(sum(of_seeds) / 2, rel=1e-5)
    assert script("report.py", str(runs), "--markdown").stdout.startswith("| runs | neuron | seeds |")
    claims = script("report.py", str(runs), "--csv", "--claims").stdout
    assert {row["verdict"] for row in csv.DictReader(io.StringIO(claims))} == {"not run", "blocked"}
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_recorded_runs_become_wandb_runs_of_the_same_names_groups_and_metrics(runs, tmp_path, script):
    done = script("report.py", str(runs), "--wandb", "--offline", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    found = {one.run.display_name: one for one in offline_runs(tmp_path / "out")}
    records = [json.loads(file.read_text()) for file in runs.rglob("run.json")]
    assert len(found) == len(records) + 1 == 4
    assert "claims" in found["claims"].rows
    for record in records:
        group, neuron, seed = record["identity"].split("/")
        one = found[f"{neuron}-{seed}"]
        assert (one.run.run_group, set(one.run.tags)) == (f"{group}/{neuron}", {group, record["neuron"]})
        assert one.rows.count("validation/accuracy") == 2
        for name, value in record["metrics"].items():
            if value is not None:
                assert one.summary[name] == pytest.approx(value), name
    assert len({one.run.run_id for one in found.values()}) == 4


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no run.json below"),
        (["nowhere"], "nowhere is no folder"),
        (["."], "no run.json below"),
        ([".", "--claims"], "--claims and --metrics go with"),
        ([".", "--latex", "--metrics", "acuracy"], "unknown metric 'acuracy'; did you mean accuracy?"),
        ([".", "--offline"], "go with --wandb"),
        ([".", "--latex", "--csv"], "not allowed with argument"),
    ],
)
def test_what_cannot_be_reported_is_one_line_and_writes_nothing(words, says, tmp_path, script, monkeypatch):
    if not words:  # a fresh project: neither runs nor results
        monkeypatch.setattr("snnrepro.config.check.CONFIGS", tmp_path / "configs")
    done = script("report.py", *words)
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_records_that_are_all_broken_are_said_to_be(tmp_path, script):
    (tmp_path / "run.json").write_text("[]")
    done = script("report.py", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f"passed over, no record of a run: {tmp_path / 'run.json'}"
    assert "no run.json that can be read" in done.stderr
