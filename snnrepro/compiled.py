"""Loops compiled by numba; kept for the next process where there is a place to keep them."""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, overload

from numba import config, njit

F = TypeVar("F", bound=Callable[..., Any])
# What a loop may do to be fast; NaN and infinity hold in both. FUSED: round a product and the addition after it once;
# only where one of the two terms is a product, since otherwise the choice of which is fused, and so the last digit,
# may differ between versions of a loop. FAST: rearrange a sum too, which makes one over many values a vector loop.
FUSED = {"contract"}
FAST = {"contract", "reassoc", "nsz"}


@overload
def compiled(function: F) -> F: ...
@overload
def compiled(**options: Any) -> Callable[[F], F]: ...
def compiled(function: Any = None, **options: Any) -> Any:
    """numba's njit without the lock of the interpreter; `options` are njit's (parallel, fastmath).

    What is divided by 0 is infinite or NaN, as in numpy: a check in every division would keep loops from being vectors.
    """
    if function is None:
        return lambda wrapped: compiled(wrapped, **options)
    options = {"nogil": True, "error_model": "numpy", **options}
    kept = _kept_in(Path(function.__code__.co_filename).parent)
    if kept is None:
        return njit(**options)(function)
    before, config.CACHE_DIR = config.CACHE_DIR, str(kept)  # type: ignore[attr-defined]
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # it cannot be written after all
        return njit(**options)(function)
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]


@cache
def _kept_in(source: Path) -> Path | None:
    """Where what is compiled of a folder's sources is kept: a new place for every change of any of them.

    numba itself looks at the one file that a function stands in, and would serve what other files no longer say.
    """
    digest = hashlib.sha256()
    for file in sorted(source.glob("*.py")):
        if not file.name.startswith("triton_"):  # no business of numba's
            digest.update(file.read_bytes())
    name = f"numba-{digest.hexdigest()[:12]}"
    asked = os.environ.get("NUMBA_CACHE_DIR")
    for place in [Path(asked)] if asked else [source / "__pycache__", Path("~/.cache/snnrepro").expanduser()]:
        try:
            (place / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place / name, os.W_OK):
            return place / name
    return None
