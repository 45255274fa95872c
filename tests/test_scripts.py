"""The commands beside train.py: what they print and write, and their answers to bad input."""

import csv
import subprocess
import sys
from pathlib import Path

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
    assert {row["neuron"] for row in rows} == {"lif", "psn", "psu"}
    for row in rows:
        assert row["checked"] == "True"
        assert float(row["forward_backward_vs_lif_loop"]) > 0
        assert all(row[name] for name in ("T", "N", "dtype", "device", "threads", "kernel", "torch", "repeats"))


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
