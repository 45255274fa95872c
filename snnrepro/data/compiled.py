"""Loops over events, compiled; kept for the next process where there is a place to keep them."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """numba's njit without the lock of the interpreter."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the home can be written
        return njit(nogil=True)(function)
