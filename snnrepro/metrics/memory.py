"""Peak memory of a neuron's forward and backward pass, measured in a process of its own."""

import contextlib
import ctypes
import multiprocessing
import resource
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch

from snnrepro.neurons.neuron import Neuron


class Cost(NamedTuple):
    """One forward and backward pass."""

    bytes: int  # peak above what the process held before, input included
    seconds: float


def forward_backward_cost(neuron: Neuron, shape: tuple[int, ...]) -> Cost:
    """Cost of one pass over fresh fp32 input of `shape` `[T, B, *]` on the CPU, single-threaded, in a forked process.

    Fork only while this process runs no other torch work. Raises RuntimeError where the process died, as one does
    that runs out of memory.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(neuron, shape, sender))
    process.start()
    sender.close()
    try:
        found: Cost = receiver.recv()
    except EOFError:
        raise RuntimeError(f"{type(neuron).__name__} at {shape}: the process died") from None
    finally:
        process.join()
    return found


def _measure(neuron: Neuron, shape: tuple[int, ...], sender: Connection) -> None:
    torch.set_num_threads(1)
    return_freed_memory()
    _pass(neuron, (min(shape[0], 2), *shape[1:]))
    before = _resident_bytes()
    start = time.perf_counter()
    _pass(neuron, shape)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sender.send(Cost(max(0, peak - before), seconds))


def return_freed_memory() -> None:
    """Have glibc give every freed tensor back at once: what it keeps for later is not what a pass needs."""
    mmap_threshold = -3  # M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(mmap_threshold, 2**16)


def _pass(neuron: Neuron, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, requires_grad=True)
    neuron(x).sum().backward()


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
