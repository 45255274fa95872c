"""scripts/benchmark.py: rows with all their conditions, pictures, and its answers to bad input."""

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snnrepro.config.check import options
from snnrepro.neurons import LIF, PSN, PSU

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
PNG = b"\x89PNG"


def alone(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def speed_script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import benchmark_speed

    return benchmark_speed


CONDITIONS = ("T", "N", "batch", "dtype", "device_type", "device", "threads", "repeats", "torch", "commit")
TIMES = ("seconds", "seconds_min", "seconds_max", "baseline_seconds", "baseline_seconds_min", "baseline_seconds_max")


def assert_consistent(row: dict[str, str]) -> None:
    """Every condition is there, times are in order, and the speed-up is theirs."""
    assert all(row[name] for name in CONDITIONS)
    assert row["checked"] == "True"
    assert row["others_cpu_share"] == "" or 0 <= float(row["others_cpu_share"]) <= 1
    median, least, most, of_baseline, baseline_least, baseline_most = (float(row[name]) for name in TIMES)
    assert 0 < least <= median <= most
    assert 0 < baseline_least <= of_baseline <= baseline_most
    assert float(row["speedup"]) == pytest.approx(of_baseline / median, rel=1e-4)
    assert float(row["speedup_low"]) <= float(row["speedup"]) <= float(row["speedup_high"])


@pytest.mark.slow
def test_neurons_times_every_form_of_every_neuron_against_every_baseline_that_is_installed(tmp_path, script):
    pytest.importorskip("spikingjelly")
    words = ["neurons", "--steps", "3", "--sizes", "16", "--repeats", "2", "--no-compile", "--out", str(tmp_path)]
    done = script("benchmark.py", *words)
    assert done.returncode == 0, done.stderr
    assert f"1 cells of {len(options('neuron'))} neurons" in done.stdout
    rows = rows_of(tmp_path / "neurons_cpu.csv")
    assert {row["neuron"] for row in rows} == set(options("neuron"))
    for row in rows:
        assert_consistent(row)
        assert row["peer_version"] or row["baseline"] in ("loop", "fused_loop")
    assert {row["baseline"] for row in rows} >= {"loop", "fused_loop", "spikingjelly_lif"}
    assert {row["neuron"] for row in rows if row["baseline"] == "spikingjelly_twin"} == {
        *("if", "plif", "klif", "psn", "masked_psn", "sliding_psn")
    }
    forms = {row["kernel"] for row in rows if row["neuron"] == "sliding_psn"}
    assert forms == {"numba", "fir", "band", "reference"}
    # One row for each pair and pass, and of each neuron one form that it takes by itself.
    keys = [(row["neuron"], row["kernel"], row["baseline"], row["pass"]) for row in rows]
    assert len(set(keys)) == len(keys)
    taken = {(row["neuron"], row["kernel"]) for row in rows if row["auto"] == "True"}
    assert sorted(name for name, _ in taken) == options("neuron")
    assert (tmp_path / "neurons_cpu_float32.png").read_bytes().startswith(PNG)


def test_neurons_takes_half_precision_and_draws_a_picture_for_each_dtype(tmp_path, script):
    words = ["--neurons", "psn", "psu", "--dtypes", "bfloat16", "float64", "--steps", "2", "4", "--sizes", "8", "16"]
    done = script("benchmark.py", "neurons", *words, "--repeats", "1", "--no-compile", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "neurons_cpu.csv")
    for row in rows:
        assert_consistent(row)
    cells = {(row["dtype"], row["T"], row["N"]) for row in rows}
    assert cells == {(dtype, t, n) for dtype in ("bfloat16", "float64") for t in "24" for n in ("8", "16")}
    for dtype in ("bfloat16", "float64"):
        assert (tmp_path / f"neurons_cpu_{dtype}.png").read_bytes().startswith(PNG)


class Wrong(PSU):
    """Half a per cent off, in the fast form only."""

    def _membrane_and_spikes(self, x):
        h, s = super()._membrane_and_spikes(x)
        return (h if self.backend == "reference" else h * 1.005), s


def test_a_form_that_fails_its_check_gets_rows_without_times(speed_script):
    arguments = argparse.Namespace(dtypes=["float32"], steps=[8], sizes=[20], repeats=1, compiled=False)
    (rows,) = speed_script.neuron_cells({"wrong": Wrong}, arguments, CPU)
    wrong = [row for row in rows if row["kernel"] == "torch"]
    assert wrong
    assert all(row["checked"] is False and row["seconds"] is row["speedup"] is None for row in wrong)
    assert all(row["checked"] and row["seconds"] > 0 for row in rows if row["kernel"] == "reference")


def test_a_baseline_that_is_not_what_it_claims_takes_the_times_of_its_rows_only(speed_script):
    forms = {("lif", "reference"): speed_script.Candidate(LIF(), True, auto=True)}
    shared = {name: speed_script.Candidate(LIF(), name == "sound") for name in ("sound", "unsound")}
    rows = list(speed_script.neuron_cell(forms, shared, {}, torch.randn(3, 1, 5), 1))
    assert {(row["baseline"], row["checked"], row["seconds"] is None) for row in rows} == {
        ("sound", True, False),
        ("unsound", False, True),
    }


def test_a_reference_of_seconds_a_pass_is_left_out_and_said_but_never_a_neurons_only_form(speed_script, capfd):
    factories = {"psn": PSN, "lif": LIF}
    size = speed_script.MOST_PRODUCTS // 64**2
    assert ("psn", "reference") in speed_script.forms_of(factories, 64, size, CPU)
    assert capfd.readouterr().err == ""
    left = {("psn", "numba"), ("psn", "torch"), ("lif", "numba"), ("lif", "reference")}
    assert set(speed_script.forms_of(factories, 64, size + 1, CPU)) == left
    assert capfd.readouterr().err.startswith(f"left out: at T = 64, N = {size + 1:,} the references of psn,")


@pytest.mark.slow
def test_a_library_that_is_not_installed_is_one_line(tmp_path):
    hide = (
        "import importlib.util, runpy, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *_: None if name in ('spikingjelly', 'snntorch') else find(name, *_)\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0] + '/benchmark.py', run_name='__main__')\n"
    )
    words = ["neurons", "--neurons", "psn", "--steps", "2", "--sizes", "4", "--repeats", "1", "--no-compile"]
    command = [sys.executable, "-c", hide, str(ROOT / "scripts"), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "left out: snntorch is not installed",
        "left out: spikingjelly is not installed",
    ]
    rows = rows_of(tmp_path / "runs" / "benchmarks" / "neurons_cpu.csv")
    assert {row["baseline"] for row in rows} == {"loop", "fused_loop"}


def test_layers_times_each_half_of_a_pass_of_block_against_both_loops(tmp_path, script):
    words = ["--sizes", "6", "8", "--steps", "3", "5", "--batches", "2", "4", "--repeats", "2", "--out", str(tmp_path)]
    done = script("benchmark.py", "layers", *words)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "layers_cpu.csv")
    assert len(rows) == 2 * 2 * 2 * 2 * 2 * 3
    for row in rows:
        assert_consistent(row)
        assert row["inputs"] == "1000"
    assert {(row["neuron"], row["baseline"], row["pass"]) for row in rows} == {
        (block, f"lif_{kind}_spike", half)
        for block in ("block", "block_v1")
        for kind in ("single", "multi")
        for half in ("forward", "backward", "total")
    }
    assert {(row["batch"], row["T"], row["N"]) for row in rows} == {(b, t, n) for b in "24" for t in "35" for n in "68"}
    for batch in "24":
        assert (tmp_path / f"layers_cpu_batch{batch}.png").read_bytes().startswith(PNG)


def test_poisson_spikes_are_binary_with_a_rate_for_each_sample(speed_script):
    torch.manual_seed(0)
    spikes = speed_script.poisson_spikes(400, 50)
    assert spikes.shape == (400, 50, 1000)
    assert set(spikes.unique().tolist()) == {0, 1}
    # Spikes of an input over all T, 0 to 200 less those that fall into one step.
    rates = spikes.sum(0).mean(1)
    assert rates.max() < 200
    assert rates.std() > 30


@pytest.mark.slow
def test_networks_times_training_and_inference_and_measures_memory_without_data(tmp_path):
    words = ["dataset=seq_cifar10", "architecture.channels=4", "dataset.batch_size=8", "paths.data_dir=nowhere"]
    done = alone("networks", *words, "--neurons", "mpe_psn", "--repeats", "2", "--out", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "networks_cpu.csv")
    assert [(row["neuron"], row["pass"]) for row in rows] == [
        *[("lif_loop", "training"), ("mpe_psn", "training"), ("lif_loop", "inference"), ("mpe_psn", "inference")]
    ]
    for row in rows:
        assert_consistent(row | {"N": "of the layers", "dtype": row["precision"]})
        assert float(row["samples_per_second"]) == pytest.approx(8 / float(row["seconds"]), rel=1e-4)
        assert (row["T"], row["input"], row["batch"]) == ("32", "3x32", "8")
    if Path("/proc/self/status").is_file():
        memory = {(row["neuron"], row["pass"]): float(row["peak_memory_mb"]) for row in rows}
        assert all(0 < value < 2000 for value in memory.values())  # of a net of four channels, in MB


def test_a_training_step_of_networks_changes_every_weight(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from benchmark_networks import Network

    torch.manual_seed(0)
    network = Network(["neuron=psn", "dataset=digits", "dataset.batch_size=16"], "cpu")
    assert network.checked()
    before = {name: value.clone() for name, value in network.network.named_parameters()}
    network.train()
    assert before
    assert all(not torch.equal(value, before[name]) for name, value in network.network.named_parameters())
    after = {name: value.clone() for name, value in network.network.named_parameters()}
    network.infer()
    assert all(torch.equal(value, after[name]) for name, value in network.network.named_parameters())


BAD = {
    "unknown neuron": (["neurons", "--neurons", "psuu"], "unknown neuron 'psuu'; did you mean psu"),
    "unknown neuron of networks": (["networks", "--neurons", "psuu"], "unknown neuron 'psuu'"),
    "unknown dtype": (["neurons", "--dtypes", "float31"], "float31"),
    "unknown device": (["neurons", "--device", "tpu"], "tpu"),
    "size 0": (["neurons", "--sizes", "0"], "must be a whole number above 0, got '0'"),
    "steps in words": (["layers", "--steps", "ten"], "must be a whole number above 0, got 'ten'"),
    "repeats 0": (["networks", "--repeats", "0"], "must be a whole number above 0"),
    "unknown benchmark": (["neuron"], "neuron"),
    "unknown option": (["layers", "--size", "4", "--colour"], "--colour"),
    "override of a key that is not": (["networks", "dataset.batch=4"], "unknown key 'dataset.batch'"),
    "a neuron among the overrides": (["networks", "neuron=psu"], "--neurons"),
    "not an override": (["networks", "cifar10"], "cifar10"),
    "missing data": (["data", "--datasets", "cifar10", "--data-dir", "."], "cifar10"),
    "threshold 0": (["fidelity", "--thresholds", "0"], "must be a number above 0, got '0'"),
    "no finished run": (["fidelity", "--run", "."], "no finished run"),
}


@pytest.mark.parametrize(("words", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_writes_nothing(words, message, tmp_path, script):
    done = script("benchmark.py", *words, "--out", str(tmp_path / "out"))
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert not [file for file in (tmp_path / "out").glob("*") if file.is_file()]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("benchmark", ["neurons", "networks", "layers"])
def test_a_gpu_that_is_not_there_is_one_line(benchmark, tmp_path, script):
    done = script("benchmark.py", benchmark, "--device", "cuda", "--out", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "torch finds no GPU here" in done.stderr


def test_fidelity_writes_rows_and_a_picture_for_each_input_and_threshold(tmp_path, script):
    done = script("benchmark.py", "fidelity", "--size", "16", "--thresholds", "1", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "fidelity_cpu.csv")
    assert {row["input"] for row in rows} == {"gaussian", "poisson"}
    assert {row["target"] for row in rows} == {"lif", "lif_hard", "lif_single_spike"}
    assert all(row["agreement"] in ("1.0", "") for row in rows if row["neuron"] == "block")
    for kind in ("gaussian", "poisson"):
        assert (tmp_path / f"fidelity_{kind}_threshold1.png").read_bytes().startswith(PNG)


def test_fidelity_takes_the_current_of_a_finished_run(train, tmp_path, script):
    assert train("trainer.max_epochs=6", "neuron=lif")[0] == 0
    (run,) = (tmp_path / "runs").glob("*/*/seed0")
    words = ["fidelity", "--run", str(run), "--thresholds", "0.5", "--out", str(tmp_path)]
    done = script("benchmark.py", *words)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "fidelity_run_cpu.csv")
    assert {(row["input"], row["T"]) for row in rows} == {("neuron1", "4"), ("neuron2", "4")}
    # Behind a fitted batch norm the current has about mean 0 and deviation 1.
    assert all(abs(float(row["mean"])) < 0.3 and 0.7 < float(row["std"]) < 1.3 for row in rows)


def test_fidelity_takes_the_trained_neurons_of_finished_runs(train, tmp_path, script):
    for neuron in ("lif_no_reset", "rpsu", "psn"):
        assert train("trainer.max_epochs=1", f"neuron={neuron}")[0] == 0
    by_neuron = {run.parent.name.partition("-")[0]: str(run) for run in (tmp_path / "runs").glob("*/*/seed0")}
    words = ["benchmark.py", "fidelity", "--out", str(tmp_path), "--trained"]
    done = script(*words, by_neuron["lif_no_reset"], by_neuron["rpsu"])
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "fidelity_trained_cpu.csv")
    layers = [("lif_no_reset", "neuron1"), ("lif_no_reset", "neuron2"), ("rpsu", "neuron1"), ("rpsu", "neuron2")]
    assert [(row["neuron"], row["input"]) for row in rows] == layers
    assert {row["target"] for row in rows} == {"lif_soft"}
    done = script(*words, by_neuron["psn"])
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "PSN stands for no LIF" in done.stderr


def test_fidelity_of_a_folder_without_run_is_one_line(tmp_path, script):
    done = script("benchmark.py", "fidelity", "--run", str(tmp_path), "--out", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no finished run" in done.stderr


@pytest.mark.slow
def test_memory_shows_a_scan_linear_and_a_product_quadratic_in_time(tmp_path):
    words = ["memory", "--steps", "1024", "4096", "--size", "16", "--out", str(tmp_path)]
    done = alone(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "memory_cpu.csv")
    peak = {(row["neuron"], row["form"], int(row["T"])): float(row["peak_mib"]) for row in rows}
    assert peak["psu", "torch", 4096] < 6 * peak["psu", "torch", 1024]
    assert peak["psu", "dense", 4096] > 10 * peak["psu", "dense", 1024]
    assert (tmp_path / "memory.png").read_bytes().startswith(PNG)


def test_data_measures_the_loader(tmp_path, script):
    done = script("benchmark.py", "data", "--datasets", "digits", "--repeats", "1", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (row,) = rows_of(tmp_path / "data_cpu.csv")
    assert min(float(row["loader_samples_per_second"]), float(row["input_samples_per_second"])) > 0
    assert float(row["loader_mb_per_second"]) == pytest.approx(
        float(row["loader_samples_per_second"]) * 64e-6, rel=0.05
    )


def test_frames_compares_with_tonic_on_real_gestures(tmp_path, real_data, script):
    words = ["--data-dir", str(real_data("dvs_gesture")), "--recordings", "2", "--repeats", "1", "--out", str(tmp_path)]
    done = script("benchmark.py", "frames", *words)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "frames_cpu.csv")
    assert [row["split_by"] for row in rows] == ["number", "time", "duration", "count"]
    assert all(float(row["ours_vs_tonic"]) > 0 for row in rows)
