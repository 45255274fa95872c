"""Identity, atomic records, and what tables make of them."""

import json

import pytest
from rich.console import Console

from snnrepro.config.compose import compose_job
from snnrepro.ledger.record import Run, identity, read_record
from snnrepro.ledger.tables import accuracy_of, energy, run_table, runs_table


def name_of(*words: str) -> tuple[str, str, str]:
    job = compose_job(list(words))
    return identity(job.config, job.choices)


def test_identity_names_data_set_architecture_neuron_and_seed():
    group, neuron, seed = name_of("neuron=lif", "seed=4")
    assert (group, neuron.split("-")[0], seed) == ("digits-dense", "lif", "seed4")
    assert name_of("experiment=psn/seq_cifar10")[0] == "psn/seq_cifar10"


@pytest.mark.parametrize(
    "word",
    [
        "neuron=lif",
        "neuron.tau=3",
        "neuron.surrogate=triangle",
        "optimizer.lr=0.5",
        "dataset.num_steps=8",
        "dataset.train_samples=100",
        "trainer.max_epochs=3",
        "trainer.precision=bf16-mixed",
        "protocol=paper",
        "version=2",
        "loss=tet",
        "readout=max",
    ],
)
def test_what_can_change_a_number_changes_the_folder(word):
    assert name_of(word)[:2] != name_of()[:2]


@pytest.mark.parametrize(
    "word",
    [
        "paths.data_dir=/elsewhere",
        "paths.runs_dir=other",
        "paths.cache_dir=other",
        "logger=wandb",
        "trainer=cpu",
        "trainer.progress_bar=true",
        "dataset.num_workers=2",
        "overwrite=true",
        "trainer.max_epochs=60",
    ],
)
def test_where_and_on_what_it_runs_does_not_change_the_folder(word):
    assert name_of(word) == name_of()


def test_seeds_share_all_but_the_last_part():
    assert name_of("seed=0")[:2] == name_of("seed=1")[:2]


def open_run(tmp_path, *words: str) -> Run:
    job = compose_job([f"paths.runs_dir={tmp_path}", *words])
    return Run(job.config, job.choices, job.overrides)


def test_record_says_running_until_it_is_completed(tmp_path):
    with open_run(tmp_path) as run:
        assert read_record(run.folder)["status"] == "running"
        run.complete({"metrics": {"test/accuracy": 0.5}})
    assert read_record(run.folder)["status"] == "completed"
    assert sorted(file.name for file in run.folder.iterdir()) == ["run.json"]


def test_unexpected_error_is_recorded_with_its_type_and_shown_with_its_traceback(tmp_path, capsys):
    with open_run(tmp_path) as run:
        raise ZeroDivisionError("division by zero")
    record = read_record(run.folder)
    assert (record["status"], record["error"]) == ("failed", "ZeroDivisionError: division by zero")
    assert "Traceback" in capsys.readouterr().err


def test_error_in_the_record_names_no_path_of_the_machine(tmp_path):
    with open_run(tmp_path) as run:
        raise OSError(f"cannot read {tmp_path}/file nor /some/where/else.txt")
    assert read_record(run.folder)["error"] == "OSError: cannot read <runs_dir>/file nor else.txt"


def test_command_in_the_record_leaves_out_paths(tmp_path):
    with open_run(tmp_path, "neuron=lif", "paths.data_dir=/secret") as run:
        run.complete({})
    assert read_record(run.folder)["command"] == "python train.py neuron=lif"


def test_ctrl_c_is_recorded_and_goes_on_up(tmp_path):
    run = open_run(tmp_path)
    with pytest.raises(KeyboardInterrupt), run:
        raise KeyboardInterrupt
    assert read_record(run.folder)["status"] == "interrupted"


def test_record_of_a_killed_process_does_not_stand_in_the_way(tmp_path):
    with open_run(tmp_path) as run:
        run.complete({})
    file = run.folder / "run.json"
    file.write_text(file.read_text().replace('"completed"', '"running"'))
    (run.folder / "lock").write_text("process 99999999 on gone")
    with open_run(tmp_path) as again:
        assert again.ready
        again.complete({})
    assert len(read_record(run.folder)["sessions"]) == 2


def test_broken_record_reads_as_none_and_is_written_anew(tmp_path):
    with open_run(tmp_path) as run:
        run.complete({})
    (run.folder / "run.json").write_text('{"status": "comp')
    assert read_record(run.folder) is None
    with open_run(tmp_path) as again:
        assert again.ready


def test_nan_is_written_as_null_and_listed(tmp_path):
    with open_run(tmp_path) as run:
        run.complete({"metrics": {"test/accuracy": 0.5, "test/loss": float("nan"), "test/accuracy_best_epoch": None}})
    record = read_record(run.folder)
    assert record["metrics"] == {"test/accuracy": 0.5, "test/loss": None, "test/accuracy_best_epoch": None}
    assert record["nonfinite"] == ["test/loss"]


def test_nan_and_infinity_elsewhere_in_the_results_are_null_and_the_run_is_completed(tmp_path):
    with open_run(tmp_path) as run:
        rows = [{"counter": "a", "energy_pj": float("inf")}, {"counter": "b", "energy_pj": 2.0}]
        run.complete({"metrics": {}, "counters": {"samples": 3, "rows": rows}, "layers": {"n": {"x": float("nan")}}})
    record = read_record(run.folder)
    assert record["status"] == "completed"
    assert [row["energy_pj"] for row in record["counters"]["rows"]] == [None, 2.0]
    assert record["layers"] == {"n": {"x": None}}


def test_tables_show_partial_and_failed_records_without_breaking(tmp_path):
    failed = {"status": "failed", "error": "no space", "metrics": {}}
    console = Console(width=200, record=True)
    console.print(runs_table("sweep", [("seed=0", failed), ("seed=1", None)]))
    text = console.export_text()
    assert "failed: no space" in text
    assert "not started" in text


def test_run_table_of_both_protocols():
    metrics = {
        "test/accuracy": None,
        "test/accuracy_best_epoch": 0.9,
        "test/accuracy_last_epoch": 0.85,
        "test/firing_rate": 0.1,
        "test/firing_rate/neuron1": 0.1,
        "speed/neuron_vs_lif_loop": None,
    }
    record = {
        "identity": "a/b/c",
        "protocol": "paper",
        "best_epoch": 3,
        "metrics": metrics,
        "cost_model": "horowitz_45nm",
        "samples": {"train": 10, "train_available": 20, "validation": 0, "test": 5},
    }
    console = Console(width=200, record=True)
    console.print(run_table(json.loads(json.dumps(record)), "runs/a"))
    text = console.export_text()
    assert "90.00 % (epoch 4)" in text
    assert "85.00 %" in text
    assert "10 of 20 train" in text
    assert "equality check" in text
    assert accuracy_of(record) == 0.85


@pytest.mark.parametrize(("pj", "text"), [(None, "–"), (5, "5 pJ"), (1500, "1.5 nJ"), (2.5e6, "2.5 µJ"), (3e9, "3 mJ")])
def test_energy_is_shown_in_a_fitting_unit(pj, text):
    assert energy(pj) == text
