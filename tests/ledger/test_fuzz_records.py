"""Records and rows of benchmarks with anything in them are reported or named as broken. Drawn alike each time."""

import copy
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from records import CURVES, record

from snnrepro import pricing
from snnrepro.config.check import CONFIGS
from snnrepro.judging import judged
from snnrepro.ledger.claims import claims_of, read_claims
from snnrepro.ledger.columns import COLUMNS
from snnrepro.ledger.groups import groups
from snnrepro.ledger.page import page
from snnrepro.ledger.page_data import page_data
from snnrepro.ledger.record import read_record
from snnrepro.ledger.report_text import report_text
from snnrepro.ledger.runs import Records, read
from snnrepro.ledger.summaries import claims_summary, runs_summary, runs_values
from snnrepro.ledger.tables import runs_table, show

DRAWN = settings(
    max_examples=120,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
LEAVES = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e308,
    -1e308,
    5e-324,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "x",
    "a|b",
    "\ud800",
]
LEAVES += [
    "</script>",
    "\x1b[31m",
    "a\nb",
    "a/b/seed3",
    "²",
    "9" * 5000,
    [],
    {},
    [[]],
    {"": {}},
    [1, "a"],
    {"rows": [{}]},
]
VALUES = st.one_of(st.sampled_from(LEAVES), st.text(max_size=6), st.floats(), st.integers())


def whole() -> dict[str, Any]:
    """A completed run of a shipped experiment, with all that the report reads."""
    counter = {"counter": "ours", "acs": 1.0, "macs": 2.0, "energy_pj": 3.0, "leaves_out": "", "state_bytes": 4.0}
    return record(
        "psn/seq_cifar10/psn-12345678",
        experiment="psn/seq_cifar10",
        protocol="paper",
        best_epoch=3,
        cost_model="horowitz_45nm",
        operations={"acs": 1.0, "macs": 2.0},
        counters={"rows": [counter]},
        others_cpu_share={"fit": 0.2},
        data={"partial": True, "recordings": {"train": 1}, "official": {"train": 2}},
    )


def mutated(plain: Any, draw) -> Any:
    made = copy.deepcopy(plain)
    for _ in range(draw(st.integers(1, 3))):
        node: Any = made
        chance = random.Random(draw(st.integers(0, 2**32)))
        while True:
            inner = list(node) if isinstance(node, dict) else list(range(len(node)))
            deeper = [key for key in inner if isinstance(node[key], dict | list) and node[key]]
            if not deeper or chance.random() < 0.5:
                break
            node = node[chance.choice(deeper)]
        match draw(st.sampled_from(["replace", "replace", "add", "delete"])):
            case "replace" if inner:
                node[chance.choice(inner)] = draw(VALUES)
            case "delete" if inner:
                del node[chance.choice(inner)]
            case _ if isinstance(node, dict):
                node[draw(st.text(max_size=5))] = draw(VALUES)
            case _:
                node.append(draw(VALUES))
    return made


CLAIMS = [claim for claim in read_claims(CONFIGS / "experiment") if claim.experiment == "psn/seq_cifar10"][:3]
CLAIMS += claims_of(
    "psn/seq_cifar10",
    [
        {"id": "rows", "statement": "s", "kind": "value", "benchmark": "neurons", "over": "max", "run": {"T": [4, 8]}}
        | {"metric": "speedup", "value": 2.0, "tolerance": 1.0, "unit": "x", "min_seeds": 1, "source": "s"}
    ],
)


@pytest.fixture(autouse=True, scope="module")
def _cost_models_are_composed_once():
    models = pricing.cost_models()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pricing, "cost_models", lambda: models)
        yield


def reported(folder: Path) -> Records:
    """All that the report makes of the records below a folder, but for its pictures."""
    records = Records([folder])
    verdicts = [judged(claim, records) for claim in CLAIMS]
    text = report_text(records, verdicts, pricing.prices(records.runs), folder)
    text += page(page_data(records, verdicts, folder, {"commit": None, "dirty": None, "command": ""}))
    text.encode()
    found = groups(records.runs)
    for table in (
        runs_summary(found),
        runs_values(found, [column.metric for column in COLUMNS]),
        claims_summary(verdicts),
    ):
        (table.markdown() + table.latex() + table.csv()).encode()
    show(runs_table("runs", [(run.place, run.record) for run in records.runs]))
    return records


def written(folder: Path, text: str) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "run.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    (folder / "a" / "curves.csv").write_text(CURVES)
    return folder


@DRAWN
@given(st.data())
def test_any_change_of_a_record_is_reported_or_named_as_broken(tmp_path, data):
    folder = written(tmp_path / "runs", json.dumps(mutated(whole(), data.draw)))
    records = reported(folder)
    assert len(records.runs) + len(records.broken) == 1
    read_record(folder / "a")


@DRAWN
@given(st.one_of(st.text(max_size=40), st.text(alphabet='{}[]":,0 e-\\u', max_size=40)))
@example("[" * 100_000)
@example('{"a":' * 100_000)
@example('{"identity": "a/b/seed' + "9" * 5000 + '"}')
@example("9" * 5000)
def test_any_text_is_a_record_or_named_as_broken(tmp_path, text):
    folder = written(tmp_path / "runs", text)
    assert isinstance(read(folder / "a" / "run.json"), str)
    assert read_record(folder / "a") is None or text.strip().startswith("{")


HEAD = "benchmark,neuron,T,N,speedup,speedup_low,speedup_high,device,device_type,dtype,pass,kernel,baseline,commit,auto"
ROW = "neurons,psu,4,64,3.0,2.0,4.0,a CPU,cpu,float32,both,fused,loop,1234567,True"


@DRAWN
@given(st.data())
@example(None)
def test_any_change_of_a_benchmarks_rows_is_reported_or_named_as_broken(tmp_path, data):
    text = f"{HEAD}\n{ROW}\n{ROW}\n"
    for _ in range(0 if data is None else data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        piece = data.draw(
            st.sampled_from(
                ["", ",", "\n", '"', "\x00", "inf", "nan", "1e308", "1e999", "</script>", "9" * 400, "\x1b"]
            )
        )
        text = text[:place] + piece + text[place + data.draw(st.integers(0, 9)) :]
    folder = tmp_path / "runs"
    (folder / "benchmarks").mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks" / "neurons_cpu.csv").write_text(text)
    reported(folder)


@DRAWN
@given(st.binary(max_size=60))
def test_any_curves_leave_the_report_whole(tmp_path, data):
    folder = written(tmp_path / "runs", json.dumps(whole()))
    (folder / "a" / "curves.csv").write_bytes(CURVES.encode() + data)
    (folder / "a" / "rates.csv").write_bytes(b"step,rate\n0,0.5\n" + data)
    reported(folder)


@pytest.mark.parametrize("value", ["1e308", "1e999", "nan", "-1e308", "x", ""])
def test_curves_of_any_numbers_are_drawn(tmp_path, script, value):
    folder = written(tmp_path / "runs", json.dumps(record("digits-dense/psu-12345678")))
    (folder / "a" / "curves.csv").write_text(CURVES + f"{value},{value},{value},{value}\n")
    done = script("report.py", str(folder), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
