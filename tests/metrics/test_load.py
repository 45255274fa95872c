"""Whose processor time counts as other work: real processes, and /proc as files where every tick must be known."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snnrepro.metrics import load
from snnrepro.metrics.load import OtherWork, own_ticks

BUSY = "while True: pass"
linux = pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="counts by /proc")


@pytest.fixture
def detached():
    """Start a busy process whose parent ends at once, so that it is not a descendant of this one."""
    started: list[int] = []

    def start() -> int:
        # Not its parent's standard output: this process would wait until that is closed.
        busy = f"subprocess.Popen([sys.executable, '-c', {BUSY!r}], stdout=subprocess.DEVNULL)"
        code = f"import subprocess, sys; print({busy}.pid)"
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
        started.append(int(done.stdout))
        return started[-1]

    yield start
    for pid in started:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def child():
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        yield process
        process.kill()


def until(condition, seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


@linux
def test_a_busy_process_of_another_is_other_work(detached):
    pid = detached()
    with OtherWork() as work:
        before = own_ticks(pid)
        until(lambda: own_ticks(pid) >= before + 50)  # half a second of a core's time
    assert work.share is not None
    assert 0 < work.share <= 1


@linux
def test_a_running_child_and_its_child_are_ours(child):
    before = own_ticks(os.getpid())
    used = own_ticks(child.pid)
    until(lambda: own_ticks(child.pid) >= used + 50)
    assert own_ticks(os.getpid()) >= before + 50


@linux
def test_a_child_that_was_waited_for_stays_ours():
    before = own_ticks(os.getpid())
    code = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert own_ticks(os.getpid()) >= before + 45


def write(proc: Path, states: list[int], processes: dict[int, tuple[int, list[int]]]) -> None:
    """/proc with the states of all cores, and of each process its parent and its user, system, cutime, cstime."""
    proc.mkdir(exist_ok=True)
    (proc / "stat").write_text(f"cpu  {' '.join(map(str, states))} 5 5\ncpu0 1 2 3\n")
    for pid, (parent, used) in processes.items():
        (proc / f"{pid}").mkdir(exist_ok=True)
        words = ["R", parent, *[7] * 9, *used, 20, 0]
        (proc / f"{pid}" / "stat").write_text(f"{pid} (a b) c) {' '.join(map(str, words))}\n")


def test_the_share_is_busy_time_less_that_of_the_process_and_its_descendants(tmp_path, monkeypatch):
    me, proc = os.getpid(), tmp_path / "proc"
    monkeypatch.setattr(load, "PROC", proc)
    #               user nice system idle iowait irq softirq steal
    write(proc, [100, 10, 20, 500, 30, 1, 2, 3], {me: (1, [5, 5, 0, 0]), me + 1: (me, [1, 0, 0, 0]), 1: (0, [9] * 4)})
    with OtherWork() as work:
        assert work.share is None
        used = {me: (1, [25, 10, 3, 2]), me + 1: (me, [11, 0, 0, 0]), me + 2: (me + 1, [4, 6, 0, 0]), 1: (0, [99] * 4)}
        write(proc, [180, 15, 40, 560, 40, 2, 4, 10], used)
    busy = 80 + 5 + 20 + 1 + 2 + 7
    own = (20 + 5 + 3 + 2) + 10 + 10
    assert work.share == (busy - own) / (busy + 60 + 10)


def test_the_share_is_none_without_proc_and_where_no_tick_has_passed(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "PROC", tmp_path / "nothing")
    with OtherWork() as work:
        pass
    assert work.share is None
    monkeypatch.setattr(load, "PROC", tmp_path)
    write(tmp_path, [1, 1, 1, 1, 1, 1, 1, 1], {os.getpid(): (1, [0, 0, 0, 0])})
    with OtherWork() as work:
        pass
    assert work.share is None
