"""scripts/reproduce.py as a user sees it: what it lists, runs, refuses and says. Records lie in tmp_path/runs."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from claimed import (
    ACCURACY,
    BLOCKED,
    CLAIMS,
    CUDA,
    GRID,
    LAYER,
    RANKING,
    RATIO,
    VALUE,
    leave,
    leave_seeds,
    measured_rows,
    row,
)

from snnrepro import reproduce
from snnrepro.errors import UserError
from snnrepro.judging import needed
from snnrepro.ledger.claims import Claim

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.usefixtures("only_our_records")


@pytest.fixture
def nothing_runs(monkeypatch):
    monkeypatch.setattr(reproduce, "start", lambda *words: pytest.fail(f"started {words}"))


@pytest.fixture
def trained(monkeypatch):
    """In place of train.py: the words of every start. `answer` gives its exit code or the metrics that it records."""

    class Trained(list):
        answer: object = staticmethod(lambda words: ACCURACY)

    starts = Trained()

    def start(words: list[str], script: str = "train.py") -> int:
        starts.append(words)
        answer = starts.answer(words)
        if isinstance(answer, int):
            return answer
        leave(words, answer)
        return 0

    monkeypatch.setattr(reproduce, "start", start)
    return starts


def verdict(stdout: str, name: str) -> dict[str, str]:
    """What stands below a claim's name, by the words in front; folded lines joined."""
    found: dict[str, str] = {}
    for line in itertools.takewhile(str.strip, stdout[stdout.index(f"\n{name} ") :].splitlines()[2:]):
        key, text = (line[:9].strip() or list(found)[-1]), line[9:].strip()
        found[key] = f"{found[key]} {text}" if key in found else text
    return found


def rows(stdout: str) -> dict[str, list[str]]:
    """The list's rows by claim: paper, its value, data, cost, state, ours; folded lines joined."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in stdout.splitlines():
        if line.startswith("│"):
            first, *cells = [cell.strip() for cell in line.strip("│").split("│")]
            name = first or name
            known = found.setdefault(name, [""] * len(cells))
            found[name] = [" ".join(filter(None, pair)) for pair in zip(known, cells, strict=True)]
    return found


# ------------------------------------------------------------------------------------------------- the list


def test_the_list_shows_every_claim_with_its_state_and_counts_them(script, nothing_runs):
    done = script("reproduce.py")
    assert (done.returncode, done.stderr) == (0, "")
    shown = rows(done.stdout)
    assert list(shown) == list(CLAIMS)
    for name, (paper, value, data, cost, state, ours) in shown.items():
        claim = CLAIMS[name]
        assert paper == re.findall(r"arXiv [\d.]+", claim.source)[0]
        assert (state, ours) == ("blocked" if claim.blocked else "not run", "–")
        assert value
        assert data
        assert cost == "–" if claim.blocked or claim.benchmark else "MACs" in cost
    blocked = sum(bool(claim.blocked) for claim in CLAIMS.values())
    assert f"{len(CLAIMS)} claims: {len(CLAIMS) - blocked} not run, {blocked} blocked" in done.stdout


def test_the_list_shows_values_in_their_units(script, nothing_runs):
    shown = rows(script("reproduce.py").stdout)
    assert shown[VALUE][1] == "98.02 %"
    assert shown[RATIO][1] == "14.03 x"
    assert shown[RANKING][1] == "psu > lif"
    assert shown["block/yin_yang/block/spikes"][1] == "78 spikes"
    assert shown["block_v1/shd/accuracy_lost"][1] == "-29.04 points"
    assert shown["psn/seq_cifar10/psn_over_lif"][1] == "+6.95 points"


def test_the_list_judges_the_records_that_are_there(script, nothing_runs):
    leave_seeds(VALUE, 0.98, 0.981, 0.979)
    leave_seeds("block/fashion_mnist_conv/block/accuracy", 0.9, 0.9, 0.8)
    leave_seeds("block/fashion_mnist_conv/lif_multi_spike/accuracy", 0.9, 0.9)
    leave_seeds("psu/shd/rpsu/accuracy", 0.92, first=42, data={"partial": True})
    leave_seeds("mpe_psn/cifar10/mpe_psn/accuracy", 0.6, reduced=True)
    done = script("reproduce.py")
    shown = rows(done.stdout)
    assert shown[VALUE][4:] == ["reproduced", "98.00 % (3 seeds)"]
    assert shown["block/fashion_mnist_conv/block/accuracy"][4:] == ["not reproduced", "86.67 % (3 seeds)"]
    assert shown["block/fashion_mnist_conv/lif_multi_spike/accuracy"][4:] == ["not run: 2 of 3 seeds", "–"]
    assert shown["psu/shd/rpsu/accuracy"][4:] == ["reduced", "92.00 % (1 seed)"]
    assert shown["mpe_psn/cifar10/mpe_psn/accuracy"][4:] == ["reduced", "60.00 % (1 seed)"]
    # Records of the same experiment without this metric, or of another neuron, say nothing of it.
    said = shown["block/yin_yang/block/spikes"][4].replace(" ", "")  # a long word is folded where the column ends
    assert said.startswith("notrun:completedrunswithouttest/spikes_per_sample")
    assert shown["block/yin_yang/lif_multi_spike/accuracy"][4] == "not run"
    assert "1 reproduced" in done.stdout
    assert "1 not reproduced" in done.stdout
    assert "2 reduced" in done.stdout


def test_a_cost_is_told_by_the_rate_of_the_experiments_own_runs_before_those_of_others():
    known = [(10.0, "a", "big"), (30.0, "a", "big"), (1.0, "a", "small")]
    assert [reproduce.rate(known, name) for name in ("big", "small", "new")] == [20.0, 1.0, 10.0]
    assert reproduce.rate([], "big") is None


def test_the_list_tells_costs_as_time_where_a_record_tells_a_rate(script, nothing_runs):
    metrics = {"train/samples_per_second": 1000.0, "test/dense_macs_per_sample": 84000.0}
    leave(["experiment=block/yin_yang"], metrics, device={"type": "cpu", "name": "An old processor"})
    done = script("reproduce.py")
    # 200 epochs of 10,000 samples at 1,000 a second: 2,000 s a run, three seeds, of the ratio two sides.
    shown = rows(done.stdout)
    assert shown[VALUE][3] == "1.7 h"
    assert shown[RATIO][3] == "3.3 h"
    assert "recorded runs, else of all 1 (An old processor)" in done.stdout


def test_patterns_and_names_choose_each_claim_once_and_list_runs_nothing(script, nothing_runs):
    done = script("reproduce.py", "--list", "claim=psu/shd/*", f"claim={RANKING}", f"claim={VALUE}")
    assert done.returncode == 0, done.stderr
    assert list(rows(done.stdout)) == [name for name in CLAIMS if name.startswith("psu/shd/")] + [VALUE]
    assert list(rows(script("reproduce.py", "claim=*/accuracy_ranking", "--list").stdout)) == [
        name for name in CLAIMS if name.endswith("/accuracy_ranking")
    ]


# ------------------------------------------------------------------------------------------------- judging


@pytest.mark.parametrize(
    ("values", "state"), [((0.98, 0.981, 0.979), "reproduced"), ((0.9, 0.91, 0.92), "not reproduced")]
)
def test_a_value_is_judged_from_what_was_run_without_running_it_again(values, state, script, nothing_runs):
    leave_seeds(VALUE, *values)
    done = script("reproduce.py", f"claim={VALUE}")
    assert (done.returncode, done.stderr) == (0, "")
    said = verdict(done.stdout, VALUE)
    assert said["claim"].startswith(CLAIMS[VALUE].statement)
    assert CLAIMS[VALUE].source in said["claim"]
    assert said["paper"].startswith("98.02 %, within 0.5 points")
    interval = f"[{100 * min(values):.2f} %, {100 * max(values):.2f} %]"
    assert said["ours"] == f"{100 * sum(values) / 3:.2f} % (3 seeds), 95 % interval over seeds {interval}"
    assert said["verdict"] == state


def test_a_ratio_and_a_ranking_are_judged_from_all_their_sides(script, nothing_runs):
    leave_seeds(RATIO, 30.0, 30.0, 30.0, device=CUDA)
    leave_seeds(RATIO, 2.0, 2.0, 2.0, side=1, device=CUDA)
    leave_seeds(RANKING, 0.8, 0.8, 0.8, first=42)
    leave_seeds(RANKING, 0.9, 0.9, 0.9, first=42, side=1)
    done = script("reproduce.py", f"claim={RATIO}", f"claim={RANKING}")
    assert done.returncode == 0, done.stderr
    assert verdict(done.stdout, RATIO)["ours"].startswith("15 x (3 seeds), 95 % interval")
    assert verdict(done.stdout, RATIO)["verdict"] == "reproduced"
    assert verdict(done.stdout, RANKING)["paper"] == "psu > lif, each ahead by more than 0 points"
    assert verdict(done.stdout, RANKING)["ours"] == "80.00 % > 90.00 % (3 seeds)"
    assert verdict(done.stdout, RANKING)["verdict"] == "not reproduced"


def test_a_time_on_another_kind_of_device_decides_nothing_and_says_so(script, nothing_runs):
    for side, seconds in enumerate((30.0, 2.0)):
        leave_seeds(RATIO, *[seconds] * 3, side=side, device={"type": "cpu", "name": "a CPU"})
    state, ours = rows(script("reproduce.py", f"claim={RATIO}", "--list").stdout)[RATIO][4:]
    assert ours == "15 x (3 seeds)"
    assert state == "reduced: measured on cpu, the claim is of cuda"


def test_runs_from_uncommitted_changes_decide_only_where_the_user_says_so(script, nothing_runs):
    dirty = {"git": {"commit": "1234567", "dirty": True}}
    leave_seeds(VALUE, 0.98, 0.98)
    leave_seeds(VALUE, 0.98, first=2, **dirty)
    for words, state in (
        ([], "reduced: run from code with uncommitted changes"),
        (["--allow-dirty"], "reproduced"),
    ):
        assert rows(script("reproduce.py", f"claim={VALUE}", "--list", *words).stdout)[VALUE][4] == state


def test_a_claim_of_a_benchmark_is_measured_by_the_benchmark_on_the_claims_device(script, monkeypatch):
    started = []

    def start(words: list[str], script: str = "train.py") -> int:
        started.append((script, words))
        measured_rows("neurons_cuda", row(CLAIMS[LAYER]))
        return 0

    monkeypatch.setattr(reproduce, "start", start)
    done = script("reproduce.py", f"claim={LAYER}")
    words = ["neurons", "--neurons", "mpe_psn", "--steps", "4", "--sizes", "1024", "--device", "cuda"]
    out = f"runs/benchmarks/{LAYER.replace('/', '-')}"
    assert started == [("scripts/benchmark.py", [*words, "--out", out])]
    assert verdict(done.stdout, LAYER)["verdict"] == "reproduced"
    assert verdict(done.stdout, LAYER)["ours"] == "2.7 x"


def test_a_claim_of_a_benchmark_that_is_decided_is_not_measured_again(script, nothing_runs):
    measured_rows("neurons_cuda", row(CLAIMS[LAYER]))
    assert verdict(script("reproduce.py", f"claim={LAYER}").stdout, LAYER)["verdict"] == "reproduced"
    measured_rows("neurons_cuda", row(CLAIMS[LAYER], device_type="cpu"))
    assert verdict(script("reproduce.py", f"claim={LAYER}", "--reduced").stdout, LAYER)["verdict"].startswith("reduced")


def test_ctrl_c_in_a_benchmark_ends_the_command(script, monkeypatch):
    monkeypatch.setattr(reproduce, "start", lambda words, script="train.py": 130)
    done = script("reproduce.py", f"claim={LAYER}", f"claim={GRID}")
    assert (done.returncode, done.stderr.count("\n")) == (130, 1)
    assert GRID not in done.stdout


@pytest.mark.parametrize("reduced", [False, True])
def test_the_words_that_measure_a_claim_are_words_of_the_benchmark(reduced, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from benchmark import parser

    for claim in (claim for claim in CLAIMS.values() if claim.benchmark):
        given = parser().parse_args(reproduce.measuring(claim, reduced=reduced))
        run = claim.runs[0]
        assert given.benchmark == claim.benchmark
        assert given.device == ("cpu" if reduced else "cuda")
        if claim.benchmark == "neurons":
            assert (given.neurons, given.steps, given.sizes) == ([run["neuron"]], [run["T"]], [run["N"]])
        elif reduced:
            assert max(given.steps) < 2048  # minutes, not hours
        else:
            assert given.steps == run["T"]


def test_seeds_that_decide_nothing_stay_and_others_are_run_for_them(script, trained):
    leave_seeds(VALUE, 0.5, 0.5, git={"commit": "1", "dirty": True})
    done = script("reproduce.py", f"claim={VALUE}")
    assert [words[-1] for words in trained] == ["seed=2", "seed=3", "seed=4"]
    assert verdict(done.stdout, VALUE)["verdict"] == "reproduced"


def test_records_of_another_protocol_do_not_count_and_are_not_the_claimed_run(script, trained):
    leave(["experiment=block/yin_yang", "protocol=validated"], {"test/accuracy": 0.98})
    assert script("reproduce.py", f"claim={VALUE}", "--seeds", "1").returncode == 0
    assert len(trained) == 1


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", "{}", '{"identity": 3}', '{"identity": "a/b/seedx", "metrics": {}}', "\x00"],
)
def test_broken_records_are_passed_over(text, script, nothing_runs, tmp_path):
    leave_seeds(VALUE, 0.98, 0.98, 0.98)
    for folder in (tmp_path / "runs" / "a", tmp_path / "runs" / "z" / "seed0"):
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(text)
    (tmp_path / "runs" / "bytes").mkdir()
    (tmp_path / "runs" / "bytes" / "run.json").write_bytes(b"\xff\xfe")
    (tmp_path / "runs" / "folder" / "run.json").mkdir(parents=True)
    done = script("reproduce.py", f"claim={VALUE}")
    assert (done.returncode, done.stderr) == (0, "")
    assert verdict(done.stdout, VALUE)["verdict"] == "reproduced"


@pytest.mark.parametrize("broken", [{"metrics": None}, {"metrics": []}, {"status": ...}], ids=str)
def test_records_without_what_is_judged_are_passed_over(broken, script, trained):
    file = leave([*needed(CLAIMS[VALUE], reduced=False)[0].words, "seed=0"], ACCURACY)
    content = {key: value for key, value in (json.loads(file.read_text()) | broken).items() if value is not ...}
    file.write_text(json.dumps(content))
    trained.answer = lambda words: 1
    assert script("reproduce.py", f"claim={VALUE}").returncode == 1


# ------------------------------------------------------------------------------------------------- running


def test_exactly_the_seeds_that_lack_are_run_with_the_experiments_words(script, trained):
    leave_seeds(VALUE, 0.98, first=1)
    done = script("reproduce.py", f"claim={VALUE}")
    assert (done.returncode, done.stderr) == (0, "")
    words = ["experiment=block/yin_yang", "neuron=block"]
    assert trained == [[*words, "seed=0"], [*words, "seed=2"]]
    assert "1 of 2: python train.py experiment=block/yin_yang neuron=block seed=0\n" in done.stdout
    assert verdict(done.stdout, VALUE)["verdict"] == "reproduced"


def test_every_side_is_run_from_the_experiments_own_first_seed(script, trained):
    leave_seeds(RANKING, 0.8, 0.8, first=42, side=1)
    trained.answer = lambda words: {CLAIMS[RANKING].metric: 0.9 if "neuron=psu" in words else 0.8}
    done = script("reproduce.py", f"claim={RANKING}")
    assert [tuple(words) for words in trained] == [
        *(("experiment=psu/shd", "neuron=psu", f"seed={seed}") for seed in (42, 43, 44)),
        ("experiment=psu/shd", "neuron=lif", "seed=44"),
    ]
    assert verdict(done.stdout, RANKING)["ours"] == "90.00 % > 80.00 % (3 seeds)"
    assert verdict(done.stdout, RANKING)["verdict"] == "reproduced"


def test_a_run_that_two_claims_share_is_run_once(script, trained):
    trained.answer = lambda words: {"test/accuracy_last_epoch": 0.98, "test/spikes_per_sample": 500.0}
    done = script("reproduce.py", f"claim={VALUE}", "claim=block/yin_yang/block/spikes")
    assert len(trained) == 3
    assert verdict(done.stdout, VALUE)["verdict"] == "reproduced"
    assert verdict(done.stdout, "block/yin_yang/block/spikes")["verdict"] == "not reproduced"


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_run_that_did_not_complete_is_run_again(status, script, trained):
    leave_seeds(VALUE, 0.98, 0.98)
    leave([*needed(CLAIMS[VALUE], reduced=False)[0].words, "seed=2"], {}, status=status)
    done = script("reproduce.py", f"claim={VALUE}")
    assert [words[-1] for words in trained] == ["seed=2"]
    assert verdict(done.stdout, VALUE)["verdict"] == "reproduced"


def test_overrides_are_spelled_so_that_train_reads_them(script, trained):
    name = "mpe_psn/cifar10_dvs/mpe_psn/T4/mixup/accuracy"
    trained.answer = lambda words: {CLAIMS[name].metric: 0.83367}
    done = script("reproduce.py", f"claim={name}")
    (words,) = trained
    assert words == [
        *("experiment=mpe_psn/cifar10_dvs", "neuron=mpe_psn", "dataset.num_steps=4", "augmentation.mixup_alpha=0.5"),
        *("augmentation.mixup_probability=0.5", "augmentation.mixup_epochs=141", "augmentation.hard_labels=true"),
        "seed=100",
    ]
    assert verdict(done.stdout, name)["verdict"] == "reproduced"


@pytest.mark.parametrize("seeds", [1, 5])
def test_seeds_sets_the_runs_of_a_side(seeds, script, trained):
    done = script("reproduce.py", f"claim={VALUE}", "--seeds", str(seeds))
    assert [words[-1] for words in trained] == [f"seed={seed}" for seed in range(seeds)]
    state = "reproduced" if seeds == 5 else "not run: 1 of 3 seeds"
    assert verdict(done.stdout, VALUE)["verdict"] == state


def test_reduced_runs_one_seed_of_the_small_version_and_gives_no_verdict(script, trained):
    done = script("reproduce.py", f"claim={VALUE}", "--reduced")
    assert (done.returncode, done.stderr) == (0, "")
    assert trained == [["experiment=block/yin_yang", "neuron=block", "scale=reduced", "seed=0"]]
    said = verdict(done.stdout, VALUE)
    assert said["ours"] == "98.00 % (1 seed)"
    assert said["verdict"] == "reduced: run at a smaller scale, which decides nothing"
    again = script("reproduce.py", f"claim={VALUE}", "--reduced")
    assert len(trained) == 1
    assert verdict(again.stdout, VALUE) == said


def test_reduced_with_many_seeds_gives_no_verdict_either(script, trained):
    done = script("reproduce.py", f"claim={VALUE}", "--reduced", "--seeds", "3")
    assert len(trained) == 3
    assert verdict(done.stdout, VALUE)["ours"].startswith("98.00 % (3 seeds), 95 % interval")
    assert verdict(done.stdout, VALUE)["verdict"].startswith("reduced: ")


def test_reduced_runs_do_not_stand_in_for_full_ones(script, trained):
    leave_seeds(VALUE, 0.5, 0.5, 0.5, reduced=True)
    done = script("reproduce.py", f"claim={VALUE}")
    assert len(trained) == 3
    assert not any("scale=reduced" in words for words in trained)
    assert verdict(done.stdout, VALUE)["verdict"] == "reproduced"


def test_words_on_where_it_runs_pass_through_and_records_are_looked_for_there(script, trained, tmp_path):
    there = [f"paths.runs_dir={tmp_path / 'there'}", "logger=csv", "paths.data_dir=/data", "trainer.accelerator=cpu"]
    done = script("reproduce.py", f"claim={VALUE}", *there)
    assert done.returncode == 0, done.stderr
    assert trained[0] == ["experiment=block/yin_yang", "neuron=block", "seed=0", *there]
    assert verdict(done.stdout, VALUE)["verdict"] == "reproduced"
    assert not (tmp_path / "runs").exists()
    assert rows(script("reproduce.py").stdout)[VALUE][4] == "not run"
    assert rows(script("reproduce.py", there[0]).stdout)[VALUE][4] == "reproduced"


def test_overwrite_runs_again_what_is_there(script, trained):
    leave_seeds(VALUE, 0.5, 0.5, 0.5)
    done = script("reproduce.py", f"claim={VALUE}", "overwrite=true")
    assert len(trained) == 3
    assert verdict(done.stdout, VALUE)["verdict"] == "reproduced"


def test_a_run_that_fails_ends_its_claim_with_one_line_and_exit_code_1_and_the_next_goes_on(script, trained):
    trained.answer = lambda words: 1 if "neuron=block" in words else {"test/accuracy_last_epoch": 0.9277}
    other = "block/yin_yang/lif_single_spike/accuracy"
    done = script("reproduce.py", f"claim={VALUE}", f"claim={other}")
    assert done.returncode == 1
    assert done.stderr == f"error: {VALUE} cannot be judged: train.py ended with 1, see above\n"
    assert len(trained) == 1 + 3
    assert verdict(done.stdout, VALUE)["verdict"] == "not run"
    assert verdict(done.stdout, other)["verdict"] == "reproduced"


def test_what_was_run_before_a_failure_is_not_run_again(script, trained):
    trained.answer = lambda words: ACCURACY if len(trained) != 2 else 1
    assert script("reproduce.py", f"claim={VALUE}").returncode == 1
    done = script("reproduce.py", f"claim={VALUE}")
    assert [words[-1] for words in trained] == ["seed=0", "seed=1", "seed=1", "seed=2"]
    assert (done.returncode, verdict(done.stdout, VALUE)["verdict"]) == (0, "reproduced")


def test_ctrl_c_ends_everything_with_130(script, trained):
    trained.answer = lambda words: 130
    done = script("reproduce.py", "claim=block/yin_yang/*/accuracy")
    assert done.returncode == 130
    assert done.stderr == "interrupted; the same command goes on\n"
    assert len(trained) == 1


def test_a_blocked_claim_says_why_and_runs_nothing(script, nothing_runs):
    for words in ([], ["--reduced"]):
        done = script("reproduce.py", f"claim={BLOCKED}", *words)
        assert (done.returncode, done.stderr) == (0, "")
        said = verdict(done.stdout, BLOCKED)
        assert said["verdict"] == f"blocked: {CLAIMS[BLOCKED].blocked}"
        assert said["ours"] == "–"


# ------------------------------------------------------------------------------------------------- mistakes

MISTAKES = {
    "unknown claim": (["claim=block/yin_yang/block/acuracy"], f"did you mean {VALUE}"),
    "unknown claim unlike any": (["claim=zzz"], "without claim= they are all listed"),
    "pattern of nothing": (["claim=psm/*"], "no claim 'psm/*'; without claim= they are all listed"),
    "empty claim": (["claim="], "no claim ''"),
    "one of two unknown": ([f"claim={VALUE}", "claim=psm/*"], "no claim 'psm/*'"),
    "changes the optimiser": ([f"claim={VALUE}", "optimizer.lr=1"], "optimizer.lr=1 would make another run"),
    "changes the precision": ([f"claim={VALUE}", "trainer=gpu"], "trainer=gpu would make another run"),
    "changes the seed": ([f"claim={VALUE}", "seed=3"], "seed=3 would make another run"),
    "changes the scale": ([f"claim={VALUE}", "scale=reduced"], "scale=reduced would make another run"),
    "changes the data": ([f"claim={VALUE}", "dataset.train_samples=9"], "dataset.train_samples=9 would make another"),
    "without =": ([f"claim={VALUE}", "psn"], "cannot read 'psn': write claim=NAME or key=value"),
    "a claim without claim=": ([VALUE], f"cannot read '{VALUE}': write claim=NAME or key=value"),
    "no seeds": ([f"claim={VALUE}", "--seeds", "0"], "--seeds must be above 0, got 0"),
    "negative seeds": ([f"claim={VALUE}", "--seeds=-1"], "--seeds must be above 0, got -1"),
}


@pytest.mark.parametrize(("words", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_nothing_runs(words, says, script, nothing_runs):
    done = script("reproduce.py", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_a_refusal_says_what_may_be_set(script, nothing_runs):
    done = script("reproduce.py", f"claim={VALUE}", "optimizer.lr=1")
    for key in ("paths", "logger", "trainer.accelerator", "dataset.num_workers", "overwrite"):
        assert key in done.stderr


def test_a_run_that_does_not_compose_is_one_line_with_the_claims_name(monkeypatch):
    broken: Claim = CLAIMS[VALUE]._replace(runs=({"neuron": "blok"},))
    with pytest.raises(UserError, match=f"^claim {re.escape(VALUE)}: unknown neuron 'blok'; did you mean"):
        needed(broken, reduced=False)


def test_words_may_stand_on_both_sides_of_an_option(script, nothing_runs):
    done = script("reproduce.py", f"claim={VALUE}", "--list", "paths.runs_dir=there")
    assert (done.returncode, done.stderr) == (0, "")


# ------------------------------------------------------------------------------------------------- for real

MINE = """# @package _global_
defaults:
  - override /neuron: lif
version: 1
protocol: paper
seed: 7
dataset: {epochs: 2, train_samples: 512}
reduced: {what: 1 of 2 epochs, dataset.epochs: 1}
claims:
  - {id: lif/accuracy, kind: value, run: {neuron: lif}, metric: test/accuracy_last_epoch, value: 0.5, tolerance: 0.5,
     unit: fraction, min_seeds: 1, statement: "LIF learns digits", source: "nobody, arXiv 0000.00000"}
"""


@pytest.mark.slow
def test_an_experiment_of_ones_own_is_trained_recorded_and_judged(tmp_path):
    """In a copy of the checkout, with an experiment that trains for seconds on data that need no files."""
    copy = tmp_path / "checkout"
    for folder in ("snnrepro", "configs", "scripts"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", copy)
    (copy / "configs" / "experiment" / "mine").mkdir()
    (copy / "configs" / "experiment" / "mine" / "digits.yaml").write_text(MINE)

    def judged(*words: str) -> tuple[bool, dict[str, str]]:
        done = subprocess.run(
            [sys.executable, str(copy / "scripts" / "reproduce.py"), "claim=mine/*", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(copy)},
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return "python train.py" in done.stdout, verdict(done.stdout, "mine/digits/lif/accuracy")

    trained, said = judged("--reduced")
    assert (trained, said["verdict"]) == (True, "reduced: run at a smaller scale, which decides nothing")
    trained, said = judged("trainer.accelerator=cpu", "--allow-dirty")  # a copy is of no known commit
    assert (trained, said["verdict"]) == (True, "reproduced")
    assert judged("trainer.accelerator=cpu", "--allow-dirty") == (False, said)
    assert judged("--reduced", "--allow-dirty") == (False, said)  # full runs are judged alone
    records = {json.loads(file.read_text())["identity"] for file in (tmp_path / "runs").rglob("run.json")}
    assert [re.sub("-[0-9a-f]{8}/", "/", name) for name in sorted(records)] == [
        "mine/digits-reduced/lif/seed7",
        "mine/digits/lif/seed7",
    ]
