"""The CPU kernels shared out over threads: each a parallel loop over chunks of neurons.

`chunks` at most as many as threads, `size` neurons in all, `width` neurons at a time; then the sums, a row `[chunks,
*]`
for each chunk; what follows goes to the kernel of the same name.
"""

from typing import Any

import numpy as np
from numba import prange

from snnrepro.compiled import compiled
from snnrepro.neurons.kernels import cpu_draws as draws
from snnrepro.neurons.kernels import cpu_mix as mix
from snnrepro.neurons.kernels import cpu_scan as scan

Array = np.ndarray[Any, Any]


@compiled
def _span(chunk: int, chunks: int, size: int, width: int) -> tuple[int, int]:
    """The neurons of a chunk, from and to: whole blocks of `width`, the last one cut at `size`."""
    blocks = (size + width - 1) // width
    return min(size, chunk * blocks // chunks * width), min(size, (chunk + 1) * blocks // chunks * width)


@compiled(parallel=True)
def resetting_forward(chunks: int, size: int, width: int, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        scan.resetting_forward(lo, hi, width, *given)


@compiled(parallel=True)
def resetting_backward(chunks: int, size: int, width: int, sums: Array, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        scan.resetting_backward(lo, hi, width, sums[c], *given)


@compiled(parallel=True)
def estimated_forward(chunks: int, size: int, width: int, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        scan.estimated_forward(lo, hi, width, *given)


@compiled(parallel=True)
def estimated_backward(chunks: int, size: int, width: int, sums: Array, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        scan.estimated_backward(lo, hi, width, sums[c], *given)


@compiled(parallel=True)
def first_crossing_forward(chunks: int, size: int, width: int, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        scan.first_crossing_forward(lo, hi, width, *given)


@compiled(parallel=True)
def first_crossing_backward(chunks: int, size: int, width: int, sums: Array, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        scan.first_crossing_backward(lo, hi, width, sums[c], *given)


@compiled(parallel=True)
def drawn_forward(chunks: int, size: int, width: int, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        draws.drawn_forward(lo, hi, width, *given)


@compiled(parallel=True)
def drawn_backward(chunks: int, size: int, width: int, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        draws.drawn_backward(lo, hi, width, *given)


@compiled(parallel=True)
def guessed_forward(chunks: int, size: int, width: int, e: Array, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        draws.guessed_forward(lo, hi, width, e[c], *given)


@compiled(parallel=True)
def guessed_backward(chunks: int, size: int, width: int, sums: Array, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        draws.guessed_backward(lo, hi, width, sums[c], *given)


@compiled(parallel=True)
def adaptive_forward(chunks: int, size: int, width: int, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        scan.adaptive_forward(lo, hi, width, *given)


@compiled(parallel=True)
def adaptive_backward(chunks: int, size: int, width: int, sums: Array, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        scan.adaptive_backward(lo, hi, width, sums[c], *given)


@compiled(parallel=True)
def product_forward(chunks: int, size: int, width: int, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        mix.product_forward(lo, hi, width, *given)


@compiled(parallel=True)
def product_backward(
    chunks: int, size: int, width: int, sums: Array, to_weight: Array, to_bias: Array, *given: Any
) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        mix.product_backward(lo, hi, width, sums[c], to_weight[c], to_bias[c], *given)


@compiled(parallel=True)
def fire_forward(chunks: int, size: int, width: int, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        mix.fire_forward(lo, hi, width, *given)


@compiled(parallel=True)
def fire_backward(chunks: int, size: int, width: int, sums: Array, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        mix.fire_backward(lo, hi, width, sums[c], *given)


@compiled(parallel=True)
def filter_forward(chunks: int, size: int, width: int, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        mix.filter_forward(lo, hi, width, *given)


@compiled(parallel=True)
def filter_backward(chunks: int, size: int, width: int, sums: Array, to_strip: Array, *given: Any) -> None:
    for c in prange(chunks):
        lo, hi = _span(c, chunks, size, width)
        mix.filter_backward(lo, hi, width, sums[c], to_strip[c], *given)
