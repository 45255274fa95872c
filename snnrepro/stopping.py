"""A request that a run stop, heeded at the next moment at which it can be saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_waits = False
_asked = False


def stop() -> None:
    """Ask the run in this process to stop: at once by KeyboardInterrupt, or after its batch while it heeds `asked`."""
    global _asked
    if not _waits:
        raise KeyboardInterrupt
    _asked = True


def asked() -> bool:
    """Whether a stop is waited for."""
    return _asked


def wait(until_saved: bool) -> None:
    """Say whether the run heeds `asked` after its batch. Raises KeyboardInterrupt for a stop that it will not heed."""
    global _waits
    _waits = until_saved
    if _asked and not until_saved:
        raise KeyboardInterrupt


@contextmanager
def held() -> Iterator[None]:
    """Context that neither a stop nor Ctrl-C cuts short: torch.save, cut short, fails in a way that hides them.

    Raises KeyboardInterrupt at its end for one that came, but a stop that a batch waits for stays `asked`.
    """
    global _waits
    before, _waits = _waits, True
    interrupts: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread() and handler is not None
    if main:
        signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
        _waits = before
    if interrupts:
        signal.raise_signal(signal.SIGINT)
    if _asked and not before:
        raise KeyboardInterrupt


@contextmanager
def alone() -> Iterator[None]:
    """Context of one run's training, after which nothing is waited for."""
    global _waits, _asked
    _waits = _asked = False
    try:
        yield
    finally:
        _waits = _asked = False
