"""SIGTERM stops a run; SIGUSR1 and SIGUSR2 also put its Slurm job back into the queue."""

import os
import signal
from pathlib import Path

import pytest

from snnrepro.jobs.signals import StopSignals


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scontrol that writes down how it is called, in the file given."""
    calls = tmp_path / "calls"
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    return calls


def receive(*numbers: int) -> None:
    """Be sent these signals while a run is inside."""
    with StopSignals():
        try:
            os.kill(os.getpid(), numbers[0])
        finally:
            for number in numbers[1:]:
                os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_user_signal_ends_the_run_and_requeues_the_slurm_job(scontrol, number, capfd):
    with pytest.raises(KeyboardInterrupt):
        receive(number)
    assert scontrol.read_text() == "requeue 17\n"
    assert "Slurm job 17 requeued" in capfd.readouterr().err


def test_sigterm_ends_the_run_and_requeues_nothing(scontrol):
    with pytest.raises(KeyboardInterrupt):
        receive(signal.SIGTERM)
    assert not scontrol.exists()


def test_the_signals_that_follow_the_first_do_not_end_the_writing_of_the_record(scontrol):
    with pytest.raises(KeyboardInterrupt):
        receive(signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1)
    assert scontrol.read_text() == "requeue 17\n"


def test_of_the_tasks_of_a_job_only_the_first_requeues_it(scontrol, monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "1")
    with pytest.raises(KeyboardInterrupt):
        receive(signal.SIGUSR1)
    assert not scontrol.exists()


def test_a_handler_that_was_there_before_requeues_in_place_of_scontrol_and_is_put_back(scontrol):
    called = []
    earlier = signal.signal(signal.SIGUSR2, lambda number, _: called.append(number))
    theirs = signal.getsignal(signal.SIGUSR2)
    try:
        with pytest.raises(KeyboardInterrupt):
            receive(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR2) is theirs
    finally:
        signal.signal(signal.SIGUSR2, earlier)
    assert called == [signal.SIGUSR1]
    assert not scontrol.exists()


def test_a_job_that_slurm_will_not_requeue_is_one_line(scontrol, monkeypatch, capfd):
    (scontrol.parent / "scontrol").write_text("#!/bin/sh\necho 'not a batch job' >&2\nexit 1\n")
    with pytest.raises(KeyboardInterrupt):
        receive(signal.SIGUSR1)
    assert capfd.readouterr().err == "Slurm job 17 not requeued: not a batch job\n"
