"""Peak memory, measured in a process of its own."""

import contextlib
import ctypes
import multiprocessing
import re
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from snnrepro.neurons.neuron import Neuron


def in_own_process(work: Callable[..., Any], *arguments: Any, how: Literal["fork", "spawn"]) -> Any:
    """What `work(*arguments)` returns in a new process. Raises RuntimeError where that died, as one out of memory does.

    Fork only while this process runs no other torch work.
    """
    context = multiprocessing.get_context(how)
    receiver, sender = context.Pipe(duplex=False)
    process: Any = context.Process(target=_answer, args=(sender, work, arguments))  # type: ignore[attr-defined]
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise RuntimeError("the measuring process died: it may have run out of memory") from None
    finally:
        process.join()


def _answer(sender: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    sender.send(work(*arguments))


def memory_of_process(line: Literal["VmRSS", "VmHWM"]) -> int | None:
    """Bytes of this process resident now (VmRSS) or at most so far (VmHWM); None where there is no /proc.

    ru_maxrss may be its parent's.
    """
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(rf"^{line}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


class Cost(NamedTuple):
    """One forward and backward pass."""

    bytes: int  # peak above what the process held before, input included
    seconds: float


def forward_backward_cost(neuron: Neuron, shape: tuple[int, ...]) -> Cost:
    """Cost of one pass over fresh fp32 input of `shape` `[T, B, *]` on the CPU, single-threaded, in a forked process.

    Raises RuntimeError where the process died.
    """
    found: Cost = in_own_process(_cost, neuron, shape, how="fork")
    return found


def _cost(neuron: Neuron, shape: tuple[int, ...]) -> Cost:
    torch.set_num_threads(1)
    return_freed_memory()
    _pass(neuron, (min(shape[0], 2), *shape[1:]))
    before = memory_of_process("VmRSS") or 0
    start = time.perf_counter()
    _pass(neuron, shape)
    seconds = time.perf_counter() - start
    return Cost(max(0, (memory_of_process("VmHWM") or 0) - before), seconds)


def return_freed_memory() -> None:
    """Have glibc give every freed tensor back at once: what it keeps for later is not what a pass needs."""
    mmap_threshold = -3  # M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(mmap_threshold, 2**16)


def _pass(neuron: Neuron, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, requires_grad=True)
    neuron(x).sum().backward()
