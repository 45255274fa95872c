"""How busy the machine was with other work while something was measured."""

import os
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

PROC = Path("/proc")

# Of the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal. A guest's time is in user's.
STATES = 8
IDLE = (3, 4)


class _Ticks(NamedTuple):
    """Clock ticks since the machine's start: of all cores, of those the busy ones, and of those ours."""

    all: int
    busy: int
    own: int


class OtherWork:
    """Context in which the processor time that others take is counted.

    share: after the context, their part of the time of all cores, 0 to 1; None where there is no /proc/stat, or where
    the context took less than a clock tick (10 ms).

    Ours is this process with its threads and all its descendants: those that run, as loader processes do, and those
    that ended and were waited for. A process whose parent has ended is no descendant any more and counts as another's,
    as does what the kernel does for nobody and what a hypervisor takes away.
    """

    def __init__(self) -> None:
        self.share: float | None = None
        self._start: _Ticks | None = None

    def __enter__(self) -> "OtherWork":
        self._start = _ticks()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end = _ticks()
        if self._start is None or end is None or end.all <= self._start.all:
            return
        others = (end.busy - self._start.busy) - (end.own - self._start.own)
        self.share = min(1.0, max(0.0, others / (end.all - self._start.all)))


def _ticks() -> _Ticks | None:
    try:
        first = (PROC / "stat").read_text().splitlines()[0]
    except OSError:
        return None
    states = [int(word) for word in first.split()[1 : 1 + STATES]]
    return _Ticks(sum(states), sum(states) - sum(states[i] for i in IDLE), own_ticks(os.getpid()))


def own_ticks(pid: int) -> int:
    """Clock ticks that a process, its descendants and the children that they waited for have used, user and system."""
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for file in PROC.glob("[0-9]*/stat"):
        try:
            text = file.read_text(errors="replace")
        except OSError:  # it has ended
            continue
        # Behind the name, which may hold anything: state, parent, nine more, then user and system, its children's too.
        _, parent, *more = text.rpartition(")")[2].split()
        number = int(file.parent.name)
        ticks[number] = sum(int(word) for word in more[9:13])
        children.setdefault(int(parent), []).append(number)
    total, waiting = 0, [pid]
    while waiting:
        current = waiting.pop()
        total += ticks.get(current, 0)
        waiting += children.get(current, [])
    return total
