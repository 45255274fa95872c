"""The commands beside train.py: what they print and write, and their answers to bad input."""

import csv
import subprocess
import sys
from pathlib import Path

from snnrepro.config.check import options

ROOT = Path(__file__).resolve().parents[1]


def script(name: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / name), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_report_writes_a_table_and_learning_curves_and_names_broken_records(train, tmp_path):
    assert train("-m", "trainer.max_epochs=2", "neuron=lif,psu", "dataset.train_samples=256")[0] == 0
    broken = tmp_path / "runs" / "broken"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    done = script("report.py", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "out" / "REPORT.md").read_text()
    assert table.count("| completed |") == 2
    assert "256 of 1,295" in table
    assert "cannot be read (1)" in table
    picture = tmp_path / "out" / "curves-runs-digits-dense.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "broken" in done.stderr


def test_report_without_records_says_how_to_make_one(tmp_path):
    for words in ([], [str(tmp_path)], [str(tmp_path / "nowhere")]):
        done = script("report.py", *words, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1


def test_benchmark_of_neurons_writes_rows_with_all_conditions(tmp_path):
    words = ["neurons", "--steps", "3", "--sizes", "16", "--repeats", "2", "--out", str(tmp_path)]
    done = script("benchmark.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "neurons_cpu.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["neuron"] for row in rows} == set(options("neuron"))
    for row in rows:
        assert row["checked"] == "True"
        assert float(row["forward_backward_vs_lif_loop"]) > 0
        assert all(row[name] for name in ("T", "N", "dtype", "device", "threads", "kernel", "torch", "repeats"))


def test_benchmark_of_fidelity_writes_rows_and_a_picture_for_each_input_and_threshold(tmp_path):
    done = script("benchmark.py", "fidelity", "--size", "16", "--thresholds", "1", "--out", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "fidelity_cpu.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["input"] for row in rows} == {"gaussian", "poisson"}
    assert {row["target"] for row in rows} == {"lif", "lif_hard", "lif_single_spike"}
    assert all(row["agreement"] in ("1.0", "") for row in rows if row["neuron"] == "block")
    for kind in ("gaussian", "poisson"):
        assert (tmp_path / f"fidelity_{kind}_threshold1.png").read_bytes().startswith(b"\x89PNG")


def test_benchmark_of_fidelity_takes_the_current_of_a_finished_run(train, tmp_path):
    assert train("trainer.max_epochs=6", "neuron=lif")[0] == 0
    (run,) = (tmp_path / "runs").glob("*/*/seed0")
    words = ["fidelity", "--run", str(run), "--thresholds", "0.5", "--out", str(tmp_path)]
    done = script("benchmark.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "fidelity_run_cpu.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["input"], row["T"]) for row in rows} == {("neuron1", "4"), ("neuron2", "4")}
    # Behind a fitted batch norm the current has about mean 0 and deviation 1.
    assert all(abs(float(row["mean"])) < 0.3 and 0.7 < float(row["std"]) < 1.3 for row in rows)


def test_benchmark_of_fidelity_of_a_folder_without_run_is_one_line(tmp_path):
    done = script("benchmark.py", "fidelity", "--run", str(tmp_path), "--out", str(tmp_path), cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no finished run" in done.stderr


def test_benchmark_of_memory_shows_a_scan_linear_and_a_product_quadratic_in_time(tmp_path):
    words = ["memory", "--steps", "1024", "4096", "--size", "16", "--out", str(tmp_path)]
    done = script("benchmark.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "memory_cpu.csv").open() as file:
        peak = {(row["neuron"], row["form"], int(row["T"])): float(row["peak_mib"]) for row in csv.DictReader(file)}
    assert peak["psu", "torch", 4096] < 6 * peak["psu", "torch", 1024]
    assert peak["psu", "dense", 4096] > 10 * peak["psu", "dense", 1024]
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_on_neurons_is_what_their_classes_say(tmp_path):
    done = script("document.py", "--check", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_benchmark_of_data_measures_the_loader(tmp_path):
    done = script("benchmark.py", "data", "--repeats", "1", "--out", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "data_cpu.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["samples_per_second"]) > 0


def test_benchmark_of_an_unknown_neuron_or_missing_data_is_one_line(tmp_path):
    for words in (["neurons", "--neurons", "psuu"], ["data", "--datasets", "cifar10", "--data-dir", str(tmp_path)]):
        done = script("benchmark.py", *words, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: ")
