"""A command's success is what its runs' records say, and only records that it wrote itself."""

import json

import pytest

from snnrepro.config.compose import compose_jobs
from snnrepro.jobs.cli import report
from snnrepro.jobs.outcomes import Progress, outcomes

METRICS = {"status": "completed", "error": None, "metrics": {}}


@pytest.fixture
def runs(tmp_path):
    """Two runs of a command, `runs("overwrite=true")`, whose records lie as given, a status or None each."""

    def make(*words, before=(None, None)):
        jobs = compose_jobs(["-m", "seed=0,1", f"paths.runs_dir={tmp_path}", *words])
        for run, status in zip(outcomes(jobs), before, strict=True):
            write(run, status)
        return outcomes(jobs)

    return make


def write(run, status, **more):
    if status is not None:
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / "run.json").write_text(json.dumps({**METRICS, "status": status, **more}))


def table(runs, capsys, **options):
    code = report(runs, **options)
    return code, " ".join(capsys.readouterr().out.split())


def test_runs_completed_before_are_done_unless_they_are_overwritten(runs, capsys):
    assert [run.done for run in runs(before=("completed", "failed"))] == [True, False]
    assert [run.done for run in runs("overwrite=true", before=("completed", "failed"))] == [False, False]
    assert table(runs(before=("completed", "completed")), capsys)[0] == 0


def test_an_earlier_record_that_was_to_be_overwritten_is_no_success(runs, capsys):
    command = runs("overwrite=true", before=("completed", "completed"))
    write(command[0], "completed", sessions=["a new one"])
    code, out = table(command, capsys)
    assert code == 1
    assert "not run; the earlier record, completed, was kept" in out
    assert "1 of 2 completed" in out


def test_a_run_that_never_started_and_one_whose_process_is_gone_are_named(runs, capsys):
    command = runs()
    write(command[1], "running")
    code, out = table(command, capsys)
    assert code == 1
    assert "not started" in out
    assert "lost: its process ended without a word" in out


def test_a_run_that_goes_on_elsewhere_is_not_called_lost(runs, capsys):
    command = runs()
    write(command[1], "running")
    code, out = table(command, capsys, ended=False)
    assert (code, "running" in out, "lost" in out) == (1, True, False)


def test_progress_is_a_line_for_each_run_that_ends(runs, capsys):
    command = runs(before=("completed", "failed"))
    with Progress(command):
        write(command[1], "failed", error="out of paper")
    assert capsys.readouterr().out == "1 of 2 completed; seed=1: failed: out of paper\n"
    with Progress(command):
        write(command[1], "completed")
    assert capsys.readouterr().out == "2 of 2 completed; seed=1: completed\n"
