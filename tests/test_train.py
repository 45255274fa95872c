"""What a user sees of train.py: the table, the record, skip and overwrite, resume, sweeps, failures."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from offline_wandb import offline_runs

from snnrepro.metrics.sparsity import SpikeCounter

ROOT = Path(__file__).resolve().parents[1]
SMOKE = "trainer=smoke"


def records(folder: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted(folder.rglob("run.json"))]


def curves(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(next(folder.rglob("curves.csv")).read_text().splitlines()))


def one_record(folder: Path) -> dict:
    (record,) = records(folder)
    return record


@pytest.mark.slow
def test_default_run_reaches_96_percent_and_ends_with_the_table(train, tmp_path):
    code, out, err = train()
    assert code == 0, err
    record = one_record(tmp_path / "runs")
    metrics = record["metrics"]
    assert record["status"] == "completed"
    assert metrics["test/accuracy"] >= 0.96
    for word in ("test accuracy", "firing rate", "spikes per sample", "energy per sample", "horowitz_45nm"):
        assert word in out
    for word in ("training", "inference", "step-by-step LIF", "run.json"):
        assert word in out


def test_record_holds_config_git_versions_device_samples_and_units_of_all_metrics(train, tmp_path):
    assert train(SMOKE, "seed=3")[0] == 0
    record = one_record(tmp_path / "runs")
    assert record["seed"] == 3
    assert record["config"]["neuron"]["_target_"] == "snnrepro.neurons.psu.PSU"
    assert set(record["git"]) == {"commit", "dirty"}
    assert record["versions"]["torch"].startswith("2.11")
    assert record["device"]["type"] == "cpu"
    assert record["device"]["threads"] >= 1
    samples = {"train": 1295, "train_available": 1295, "train_per_epoch": 128, "validation": 128}
    assert record["samples"] == samples | {"test": 128, "test_available": 359}
    assert record["kernel"] == {"neuron1": "numba", "neuron2": "numba"}
    assert record["not_fused"] == {}
    assert set(record["units"]) == set(record["metrics"])
    for name in ("test/firing_rate", "test/spikes_per_sample", "test/energy_pj_per_sample", "train/samples_per_second"):
        assert record["metrics"][name] > 0
    assert record["metrics"]["test/samples_per_second"] > 0
    assert record["metrics"]["speed/neuron_vs_lif_loop"] > 0
    assert {"setup", "fit", "test", "speed"} == set(record["seconds"])


def test_record_and_curves_name_no_path_host_or_user(train, tmp_path):
    assert train("dataset=mnist", f"paths.data_dir={tmp_path / 'nothing'}")[0] == 1
    assert train(SMOKE)[0] == 0
    for file in [*(tmp_path / "runs").rglob("*.json"), *(tmp_path / "runs").rglob("*.csv")]:
        text = file.read_text()
        for secret in (str(tmp_path), str(ROOT), str(Path.home()), os.uname().nodename + '"'):
            assert secret not in text, file


def test_test_accuracy_is_of_the_epoch_chosen_on_validation(train, tmp_path):
    code, _, err = train("trainer.max_epochs=4")
    assert code == 0, err
    record = one_record(tmp_path / "runs")
    rows = curves(tmp_path / "runs")
    best = max(range(len(rows)), key=lambda i: float(rows[i]["validation/accuracy"]))
    assert len(rows) == 4
    assert record["best_epoch"] == best
    assert record["metrics"]["validation/accuracy"] == pytest.approx(float(rows[best]["validation/accuracy"]), abs=1e-5)
    assert record["metrics"]["test/accuracy_best_epoch"] is None
    assert record["metrics"]["test/accuracy_last_epoch"] is None


def test_paper_protocol_takes_the_whole_train_set_and_tests_after_every_epoch(train, tmp_path):
    code, out, _ = train("protocol=paper", "trainer.max_epochs=3")
    assert code == 0
    record = one_record(tmp_path / "runs")
    rows = curves(tmp_path / "runs")
    accuracies = [float(row["epoch_test/accuracy"]) for row in rows]
    metrics = record["metrics"]
    assert metrics["test/accuracy"] is None
    assert metrics["test/accuracy_best_epoch"] == pytest.approx(max(accuracies), abs=1e-5)
    assert metrics["test/accuracy_last_epoch"] == pytest.approx(accuracies[-1], abs=1e-5)
    samples = {"train": 1438, "train_available": 1438, "train_per_epoch": 1438, "validation": 0}
    assert record["samples"] == samples | {"test": 359, "test_available": 359}
    assert "last epoch" in out


def test_completed_run_is_skipped_and_overwrite_runs_it_again(train, tmp_path):
    assert train(SMOKE)[0] == 0
    file = next((tmp_path / "runs").rglob("run.json"))
    first = file.stat().st_mtime_ns
    code, out, _ = train(SMOKE)
    assert code == 0
    assert "already completed" in out
    assert "test accuracy" in out
    assert file.stat().st_mtime_ns == first
    assert train(SMOKE, "overwrite=true")[0] == 0
    assert file.stat().st_mtime_ns > first
    assert len(one_record(tmp_path / "runs")["sessions"]) == 1


def test_overwrite_that_cannot_be_built_keeps_the_earlier_run(train, tmp_path, real_data):
    words = [SMOKE, "dataset=fashion_mnist", f"paths.data_dir={real_data('fashion_mnist')}"]
    assert train(*words)[0] == 0
    before = {file: file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file()}
    code, out, err = train(*words, f"paths.data_dir={tmp_path / 'nowhere'}", "overwrite=true")
    assert code == 1
    assert "not found" in err
    assert "was kept" in err
    assert "test accuracy" not in out
    assert {file: file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file()} == before


def test_subset_is_balanced_and_named_in_record_and_table(train, tmp_path):
    code, out, _ = train(SMOKE, "dataset.train_samples=200")
    assert code == 0
    assert one_record(tmp_path / "runs")["samples"]["train"] == 200
    assert "200 of 1,295 train" in out
    assert "128 of 359 test" in out


def test_same_seed_gives_the_same_metrics_and_another_seed_does_not(train, tmp_path):
    losses = []
    for words in (["seed=0"], ["seed=0", "overwrite=true"], ["seed=1"]):
        assert train("trainer.max_epochs=2", *words)[0] == 0
        seed = words[0].replace("=", "")
        losses.append(one_record(next((tmp_path / "runs").rglob(seed)))["metrics"]["test/loss"])
    assert losses[0] == losses[1] != losses[2]


def test_sweep_runs_all_and_ends_with_a_table_of_the_records(train, tmp_path):
    code, out, _ = train("-m", SMOKE, "neuron=lif,psn,psu", "seed=0,1")
    assert code == 0
    found = records(tmp_path / "runs")
    assert sorted((r["neuron"], r["seed"]) for r in found) == [(n, s) for n in ("lif", "psn", "psu") for s in (0, 1)]
    assert all(r["status"] == "completed" for r in found)
    assert "6 of 6 completed" in out
    assert all(f"neuron={r['neuron']} seed={r['seed']}" in re.sub(r"\s+", " ", out) for r in found)


def test_sweep_goes_on_past_a_failed_job_and_exits_with_1(train, tmp_path):
    code, out, err = train("-m", SMOKE, "neuron=lif", "dataset.batch_size=9999,64")
    assert code == 1
    assert sorted(r["status"] for r in records(tmp_path / "runs")) == ["completed", "failed"]
    failed = next(r for r in records(tmp_path / "runs") if r["status"] == "failed")
    assert "9999" in failed["error"]
    assert failed["metrics"] == {}
    assert "1 of 2 completed" in out
    assert "Traceback" not in err
    assert train("-m", SMOKE, "neuron=lif", "dataset.batch_size=64")[0] == 0


def test_sweep_with_a_mistyped_choice_starts_nothing(train, tmp_path):
    code, _, err = train("-m", SMOKE, "neuron=lif,psuu")
    assert (code, err) == (2, "error: unknown neuron 'psuu'; did you mean psu or rpsu or ipsu?\n")
    assert not records(tmp_path / "runs")


def test_nonfinite_loss_stops_the_run_as_failed(train, tmp_path):
    code, out, err = train("optimizer=sgd", "optimizer.lr=1e38", "trainer.max_epochs=5")
    assert code == 1
    record = one_record(tmp_path / "runs")
    assert record["status"] == "failed"
    assert "NaN or infinite" in record["error"]
    assert err.count("\n") == 1
    assert "test accuracy" not in out


def test_last_checkpoint_follows_every_epoch_not_only_the_best(train, tmp_path):
    assert train("trainer.max_epochs=3", "optimizer.lr=0.0")[0] == 0
    checkpoints = next((tmp_path / "runs").rglob("checkpoints"))
    epochs = {name: torch.load(checkpoints / f"{name}.ckpt", weights_only=True)["epoch"] for name in ("best", "last")}
    assert epochs["best"] < epochs["last"] == 2


def interrupt_after_first_checkpoint(folder: Path, words: list[str]) -> tuple[int, str]:
    """Start a run in a process of its own, press Ctrl-C once an epoch is saved: (exit code, stderr)."""
    command = [sys.executable, str(ROOT / "train.py"), f"paths.runs_dir={folder}", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not any(folder.glob("*/*/*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.slow
def test_interrupted_run_goes_on_and_ends_as_if_never_interrupted(train, tmp_path):
    words = ["trainer.max_epochs=15", "neuron=psn", "architecture.dropout=0.2", "trainer.progress_bar=false"]
    code, err = interrupt_after_first_checkpoint(tmp_path / "cut", words)
    assert code == 130, err
    assert "Traceback" not in err
    last = torch.load(next(tmp_path.glob("cut/*/*/*/checkpoints/last.ckpt")), weights_only=True)
    assert len(curves(tmp_path / "cut")) - 1 <= last["epoch"] + 1  # no ended epoch is lost
    cut = one_record(tmp_path / "cut")
    assert cut["status"] == "interrupted"
    assert cut["metrics"] == {}
    assert train(*words, f"paths.runs_dir={tmp_path / 'cut'}")[0] == 0
    assert train(*words)[0] == 0
    resumed, whole = one_record(tmp_path / "cut"), one_record(tmp_path / "runs")
    assert [session["resumed"] for session in resumed["sessions"]] == [False, True]
    timed = re.compile("per_second|per_step|per_epoch|share|speed/|memory")
    for name, value in whole["metrics"].items():
        if not timed.search(name):
            assert resumed["metrics"][name] == value, name
    rows = [[{**row, "seconds": ""} for row in curves(tmp_path / place)] for place in ("cut", "runs")]
    assert rows[0] == rows[1]


def test_unwritable_run_folder_is_one_line(train, tmp_path):
    (tmp_path / "runs").write_text("a file, not a folder")
    code, _, err = train(SMOKE)
    assert code == 1
    assert err.count("\n") == 1
    assert "cannot write the run folder" in err


def test_missing_data_names_the_folder_and_the_command(train, tmp_path):
    for name in ("mnist", "fashion_mnist", "cifar10", "seq_cifar10"):
        code, _, err = (
            train(f"dataset={name}", f"paths.data_dir={tmp_path / 'nowhere'}", "architecture.channels=8")
            if (name.endswith("cifar10"))
            else train(f"dataset={name}", f"paths.data_dir={tmp_path / 'nowhere'}")
        )
        assert code == 1
        assert err.count("\n") == 1
        assert str(tmp_path / "nowhere") in err
        assert "python train.py dataset=" in err


def test_early_stopping_gradient_clipping_and_bf16_are_switches(train, tmp_path):
    words = ["trainer.early_stopping_patience=1", "trainer.gradient_clip_val=1.0", "trainer.precision=bf16-mixed"]
    assert train("trainer.max_epochs=50", "optimizer.lr=1e-12", *words)[0] == 0
    rows = curves(tmp_path / "runs")
    assert len(rows) < 50


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_every_precision_trains_tests_and_is_timed(train, tmp_path, precision):
    code, _, err = train(SMOKE, f"trainer.precision={precision}", "neuron=psn")
    assert code == 0, err
    assert one_record(tmp_path / "runs")["metrics"]["speed/neuron_vs_lif_loop"] > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_training_gives_the_same_network_as_eager(train, tmp_path):
    words = ["trainer.max_epochs=2", "neuron=psu"]
    assert train(*words)[0] == 0
    code, _, err = train(*words, "trainer.compile=true")
    assert code == 0, err
    losses = [record["metrics"]["test/loss"] for record in records(tmp_path / "runs")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_the_record_holds_every_layer_its_operations_and_other_counters_and_rates_over_time(train, tmp_path):
    assert train("neuron=psn", "trainer.max_epochs=2")[0] == 0
    record = one_record(tmp_path / "runs")
    metrics, layers = record["metrics"], record["layers"]
    assert list(layers) == ["linear1", "neuron1", "linear2", "neuron2", "readout1"]
    of_neurons = [layers["neuron1"], layers["neuron2"]]
    total = sum(layer["spikes_per_sample"] for layer in of_neurons)
    assert total == pytest.approx(metrics["test/spikes_per_sample"])
    assert metrics["test/firing_rate"] == pytest.approx(total / (4 * sum(layer["neurons"] for layer in of_neurons)))
    assert metrics["test/silent_neurons"] == sum(layer["silent"] for layer in of_neurons) / 768
    assert layers["linear1"]["spike_driven"] is False
    operations = record["operations"]
    assert operations["neuron_macs"] == 768 * 4 * 4
    priced = 4.6 * (operations["synaptic_macs"] + operations["neuron_macs"])
    priced += 0.9 * (operations["synaptic_acs"] + operations["neuron_acs"])
    assert metrics["test/energy_pj_per_sample"] == pytest.approx(priced)
    # A digit is shown four times: an ANN of this shape looks once.
    assert operations["ann_macs"] == operations["dense_macs"] / 4 == 64 * 512 + 512 * 256 + 256 * 10
    rows = record["counters"]["rows"]
    assert [row["counter"] for row in rows] == ["snnrepro", "NeuroBench 2.3.0", "syops 0.0.5", "spikingjelly 2.0.0"]
    assert rows[0]["acs"] == pytest.approx(rows[1]["acs"])
    assert record["counters"]["samples"] == 256
    (file,) = (tmp_path / "runs").rglob("rates.csv")
    steps = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["step"] for row in steps] == ["0", "1", "2", "3"]
    for name in ("neuron1", "neuron2"):
        mean = sum(float(row[name]) for row in steps) / 4
        assert mean == pytest.approx(layers[name]["firing_rate"], rel=1e-4)


def test_another_cost_model_for_a_completed_run_is_answered_with_how_to_get_its_prices(train):
    words = ["trainer.max_epochs=1", "dataset.train_samples=256"]
    assert train(*words)[0] == 0
    code, out, _ = train(*words, "energy=papers")
    assert code == 0
    assert "priced by horowitz_45nm, not papers: `make report`" in out
    assert "priced by" not in train(*words)[1]


def test_spikes_of_training_are_counted_where_asked_for_and_change_neither_the_run_nor_its_place(
    train, tmp_path, monkeypatch
):
    seen, summary = [], SpikeCounter.summary
    monkeypatch.setattr(
        SpikeCounter, "summary", lambda self, stage="test": seen.append((stage, self.samples)) or summary(self, stage)
    )
    words = ["trainer.max_epochs=2", "dataset.train_samples=256"]
    assert train(*words)[0] == 0
    plain = one_record(tmp_path / "runs")
    columns = set(curves(tmp_path / "runs")[0])
    assert train(*words, "measure.training_spikes=true", "overwrite=true")[0] == 0
    record = one_record(tmp_path / "runs")
    assert record["identity"] == plain["identity"]
    assert record["metrics"]["test/accuracy"] == plain["metrics"]["test/accuracy"]
    added = set(curves(tmp_path / "runs")[0]) - columns
    layers = {"train/firing_rate/neuron1", "train/firing_rate/neuron2"}
    assert added == {f"train/{name}_neurons" for name in ("silent", "saturated")} | layers | {
        "train/firing_rate",
        "train/spikes_per_sample",
    }
    # The training batches alone, not those of validation.
    assert [samples for stage, samples in seen if stage == "train"] == [256, 256]
    assert all(0 < float(row["train/firing_rate"]) < 1 for row in curves(tmp_path / "runs"))


def test_wandb_offline_run_holds_identity_config_curves_and_final_metrics(train, tmp_path):
    assert train("trainer.max_epochs=2", "logger=wandb", "logger.mode=offline")[0] == 0
    record = one_record(tmp_path / "runs")
    (found,) = offline_runs(tmp_path / "runs")
    group, neuron, seed = record["identity"].split("/")
    assert (found.run.display_name, found.run.run_group) == (f"{neuron}-{seed}", f"{group}/{neuron}")
    assert set(found.run.tags) == {group, "psu"}
    config = {c.key: json.loads(c.value_json) for c in found.run.config.update}
    assert config["neuron"] == record["config"]["neuron"]
    assert "paths" not in config
    for name, value in record["metrics"].items():
        if value is not None:
            assert found.summary[name] == pytest.approx(value), name
    assert found.rows.count("validation/accuracy") == 2
    assert found.exit_code == 0


def test_wandb_online_without_a_key_fails_before_training(train, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    code, out, err = train(SMOKE, "logger=wandb")
    assert code == 1
    assert err.count("\n") == 1
    assert "logger.mode=offline" in err
    assert "epoch" not in out


@pytest.mark.slow
@pytest.mark.parametrize(("neuron", "dataset"), [("lif", "fashion_mnist"), ("psn", "seq_cifar10")])
def test_real_data_trains_with_the_architecture_its_data_set_names(train, tmp_path, real_data, neuron, dataset):
    folder = real_data(dataset.removeprefix("seq_"))
    words = [f"neuron={neuron}", f"dataset={dataset}", f"paths.data_dir={folder}", "dataset.train_samples=600"]
    words += ["architecture.channels=8"] if dataset.startswith("seq") else []
    code, out, err = train(*words, "trainer.max_epochs=1", "trainer.limit_eval_batches=2")
    assert code == 0, err
    record = one_record(tmp_path / "runs")
    assert record["samples"]["train"] == 600
    assert record["architecture"] == {"fashion_mnist": "dense", "seq_cifar10": "psn_seq_cifar"}[dataset]
    assert record["config"]["dataset"]["num_steps"] == {"fashion_mnist": 4, "seq_cifar10": 32}[dataset]
    assert "600 of" in out
