"""Products over time on the CPU: weighted sums of the steps of a block of neurons, in tiles of four by four steps.

Shapes: x, g (upstream gradient), out, to_x `[T, N]`, contiguous. Each kernel works on the neurons lo to hi, `width` at
a time (cpu_ops.py shares them out over threads): the block's steps are copied together, `[rows, width]`, padded with
zeros to whole tiles, so that the innermost loop has no remainder and every value that it loads serves four sums.
Families and settings are those of families.py. sums `[2]`: of the kernel's neurons, the gradients to alpha and bias.

A filter is the same product with one strip of tiles for all steps: row r of `strip` `[4, reach + 4]` holds the weights
with which the steps t - reach, ..., t + 3 enter step t + r, reach being k - 1 rounded up to a multiple of four.
"""

from typing import Any

import numpy as np

from snnrepro.compiled import FAST, FUSED, compiled
from snnrepro.neurons.kernels.cpu_math import (
    alpha_gradient,
    copy_row,
    derivative_row,
    fill_row,
    fire_row,
    multiply_row,
    row_sum,
)

Array = np.ndarray[Any, Any]
TILE = 4


@compiled(fastmath=FUSED)
def _weigh(sums: Array, w: Array, i: int, j: int, x: Array, row: int) -> None:
    """sums[r] += sum_c w[i + r, j + c] x[row + c] for r, c in 0..3: a tile of a product."""
    a0, a1, a2, a3 = w[i, j], w[i, j + 1], w[i, j + 2], w[i, j + 3]
    b0, b1, b2, b3 = w[i + 1, j], w[i + 1, j + 1], w[i + 1, j + 2], w[i + 1, j + 3]
    c0, c1, c2, c3 = w[i + 2, j], w[i + 2, j + 1], w[i + 2, j + 2], w[i + 2, j + 3]
    d0, d1, d2, d3 = w[i + 3, j], w[i + 3, j + 1], w[i + 3, j + 2], w[i + 3, j + 3]
    for n in range(x.shape[1]):
        x0, x1, x2, x3 = x[row, n], x[row + 1, n], x[row + 2, n], x[row + 3, n]
        # One product to an addition, so that there is one way only of fusing them.
        sums[0, n] = sums[0, n] + a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
        sums[1, n] = sums[1, n] + b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
        sums[2, n] = sums[2, n] + c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
        sums[3, n] = sums[3, n] + d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3


@compiled(fastmath=FAST)
def _correlate(q: Array, i: int, x: Array, j: int, to: Array, row: int, column: int) -> None:
    """to[row + r, column + c] += sum_n q[i + r, n] x[j + c, n] for r, c in 0..3: a tile of the weights' gradient."""
    zero = q.dtype.type(0)
    a0, a1, a2, a3, b0, b1, b2, b3 = zero, zero, zero, zero, zero, zero, zero, zero
    c0, c1, c2, c3, d0, d1, d2, d3 = zero, zero, zero, zero, zero, zero, zero, zero
    for n in range(q.shape[1]):
        x0, x1, x2, x3 = x[j, n], x[j + 1, n], x[j + 2, n], x[j + 3, n]
        q0, q1, q2, q3 = q[i, n], q[i + 1, n], q[i + 2, n], q[i + 3, n]
        a0 += q0 * x0
        a1 += q0 * x1
        a2 += q0 * x2
        a3 += q0 * x3
        b0 += q1 * x0
        b1 += q1 * x1
        b2 += q1 * x2
        b3 += q1 * x3
        c0 += q2 * x0
        c1 += q2 * x1
        c2 += q2 * x2
        c3 += q2 * x3
        d0 += q3 * x0
        d1 += q3 * x1
        d2 += q3 * x2
        d3 += q3 * x3
    _add_row(to[row], column, a0, a1, a2, a3)
    _add_row(to[row + 1], column, b0, b1, b2, b3)
    _add_row(to[row + 2], column, c0, c1, c2, c3)
    _add_row(to[row + 3], column, d0, d1, d2, d3)


@compiled
def _add_row(to: Array, column: int, v0: float, v1: float, v2: float, v3: float) -> None:
    to[column] += v0
    to[column + 1] += v1
    to[column + 2] += v2
    to[column + 3] += v3


@compiled
def _fill(h: Array, value: float) -> None:
    for r in range(TILE):
        fill_row(value, h[r])


@compiled
def _padded(steps: int) -> int:
    return (steps + TILE - 1) // TILE * TILE


@compiled
def _gather(x: Array, start: int, stop: int, before: int, block: Array) -> None:
    """The steps of the neurons start to stop, `before` rows down in a block that is zero elsewhere."""
    m = stop - start
    for t in range(len(x)):
        copy_row(x[t, start:stop], block[before + t, :m])
        fill_row(0, block[before + t, m:])


@compiled
def _reached(i: int, steps: int, band: int, forward: bool) -> tuple[int, int]:
    """The tile columns that the rows i to i + 3 need, from and to. forward: of earlier steps, else of later ones."""
    if band == 0:
        return 0, steps
    if forward:
        return max(0, (i - band + 1) // TILE * TILE), i + TILE
    return i, min(steps, _padded(i + TILE - 1 + band))


@compiled
def product_forward(
    lo: int, hi: int, width: int, out: Array, kept: Array, x: Array, weight: Array, bias: Array, membrane: bool,
    v_threshold: float, strict: bool, band: int,
) -> None:  # fmt: skip
    """weight, bias: padded with zeros to whole tiles. kept: h `[T, N]` for backward, or of no elements."""
    T, steps = len(x), len(weight)
    block, h = np.zeros((steps, width), x.dtype), np.empty((TILE, width), x.dtype)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        _gather(x, start, stop, 0, block)
        for i in range(0, steps, TILE):
            _sums(h, weight, bias, i, block, band)
            for r in range(min(TILE, T - i)):
                if membrane:
                    copy_row(h[r], out[i + r, start:stop])
                else:
                    fire_row(h[r], v_threshold, strict, out[i + r, start:stop])
                if len(kept):
                    copy_row(h[r], kept[i + r, start:stop])


@compiled
def _sums(h: Array, weight: Array, bias: Array, i: int, block: Array, band: int) -> None:
    for r in range(TILE):
        fill_row(bias[i + r], h[r])
    first, last = _reached(i, len(weight), band, True)
    for j in range(first, last, TILE):
        _weigh(h, weight, i, j, block, j)


@compiled
def _fired_backward(h: Array, g: Array, membrane: bool, code: int, alpha: float, v_threshold: float, q: Array) -> None:
    """The gradient to a row of h, and u = h - v_threshold in h's place."""
    if membrane:
        copy_row(g, q[: len(g)])
    else:
        for n in range(len(g)):
            h[n] -= v_threshold
        derivative_row(code, h[: len(g)], alpha, q[: len(g)])
        multiply_row(g, q[: len(g)])


@compiled
def product_backward(
    lo: int, hi: int, width: int, sums: Array, to_weight: Array, to_bias: Array, g: Array, to_x: Array, kept: Array, x:
    Array, weight: Array, across: Array, bias: Array, membrane: bool, code: int, alpha: float, v_threshold: float,
    band: int, learn_alpha: bool,
) -> None:  # fmt: skip
    """across: weight transposed. to_weight, to_bias: this kernel's own sums, padded like weight and bias.

    to_x or to_weight without elements: not wanted.
    """
    T, steps, dtype = len(x), len(weight), x.dtype
    block, q = np.zeros((steps, width), dtype), np.zeros((steps, width), dtype)
    h = np.empty((TILE, width), dtype)
    to_alpha = dtype.type(0)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        m = stop - start
        _gather(x, start, stop, 0, block)
        for i in range(0, steps, TILE):
            if not membrane and not len(kept):
                _sums(h, weight, bias, i, block, band)
            for r in range(min(TILE, T - i)):
                if len(kept):
                    copy_row(kept[i + r, start:stop], h[r, :m])
                row = q[i + r]
                fill_row(0, row[m:])
                _fired_backward(h[r], g[i + r, start:stop], membrane, code, alpha, v_threshold, row)
                if learn_alpha:
                    to_alpha += alpha_gradient(code, h[r, :m], row, alpha)
                to_bias[i + r] += row_sum(row[:m])
        if len(to_weight):
            for i in range(0, steps, TILE):
                first, last = _reached(i, steps, band, True)
                for j in range(first, last, TILE):
                    _correlate(q, i, block, j, to_weight, i, j)
        if len(to_x):
            for j in range(0, steps, TILE):
                _fill(h, 0)
                first, last = _reached(j, steps, band, False)
                for i in range(first, last, TILE):
                    _weigh(h, across, j, i, q, i)
                for r in range(min(TILE, T - j)):
                    copy_row(h[r], to_x[j + r, start:stop])
    sums[0] = to_alpha


@compiled
def fire_forward(lo: int, hi: int, width: int, out: Array, h: Array, v_threshold: float, strict: bool) -> None:
    """What fires of an h `[T, N]` that is there already."""
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        for t in range(len(h)):
            fire_row(h[t, start:stop], v_threshold, strict, out[t, start:stop])


@compiled
def fire_backward(
    lo: int, hi: int, width: int, sums: Array, to_h: Array, g: Array, h: Array, code: int, alpha: float, v_threshold:
    float, learn_alpha: bool,
) -> None:  # fmt: skip
    u, to_alpha = np.empty(width, h.dtype), h.dtype.type(0)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        for t in range(len(h)):
            row = to_h[t, start:stop]
            copy_row(h[t, start:stop], u[: stop - start])
            _fired_backward(u, g[t, start:stop], False, code, alpha, v_threshold, row)
            if learn_alpha:
                to_alpha += alpha_gradient(code, u[: stop - start], row, alpha)
    sums[0] = to_alpha


@compiled
def filter_forward(
    lo: int, hi: int, width: int, out: Array, x: Array, strip: Array, bias: float, membrane: bool
) -> None:
    T, reach, zero = len(x), strip.shape[1] - TILE, x.dtype.type(0)
    block, h = np.zeros((reach + _padded(T), width), x.dtype), np.empty((TILE, width), x.dtype)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        _gather(x, start, stop, reach, block)
        for t in range(0, T, TILE):
            _fill(h, bias)
            for j in range(0, reach + TILE, TILE):
                if t + j + TILE > reach:  # else all of these steps are before the start
                    _weigh(h, strip, 0, j, block, t + j)
            for r in range(min(TILE, T - t)):
                if membrane:
                    copy_row(h[r], out[t + r, start:stop])
                else:
                    fire_row(h[r], zero, False, out[t + r, start:stop])


@compiled
def filter_backward(
    lo: int, hi: int, width: int, sums: Array, to_strip: Array, g: Array, to_x: Array, x: Array, strip: Array, across:
    Array, bias: float, membrane: bool, code: int, alpha: float, learn_alpha: bool,
) -> None:  # fmt: skip
    """across: the strip of the reversed filter, whose columns are the steps t, ..., t + reach + 3.

    to_strip: this kernel's own sums, or of no elements; so to_x.
    """
    T, reach, dtype = len(x), strip.shape[1] - TILE, x.dtype
    steps, zero = _padded(T), dtype.type(0)
    block, q = np.zeros((reach + steps, width), dtype), np.zeros((steps + reach, width), dtype)
    h = np.empty((TILE, width), dtype)
    to_bias, to_alpha = zero, zero
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        m = stop - start
        _gather(x, start, stop, reach, block)
        for t in range(0, T, TILE):
            if not membrane:
                _fill(h, bias)
                for j in range(0, reach + TILE, TILE):
                    if t + j + TILE > reach:
                        _weigh(h, strip, 0, j, block, t + j)
            for r in range(min(TILE, T - t)):
                row = q[t + r]
                fill_row(0, row[m:])
                _fired_backward(h[r], g[t + r, start:stop], membrane, code, alpha, zero, row)
                if learn_alpha:
                    to_alpha += alpha_gradient(code, h[r, :m], row, alpha)
                to_bias += row_sum(row[:m])
        for t in range(0, T, TILE):
            if len(to_strip):
                for j in range(0, reach + TILE, TILE):
                    if t + j + TILE > reach:
                        _correlate(q, t, block, t + j, to_strip, 0, j)
            if len(to_x):
                _fill(h, 0)
                for j in range(0, reach + TILE, TILE):
                    if t + j < T:
                        _weigh(h, across, 0, j, q, t + j)
                for r in range(min(TILE, T - t)):
                    copy_row(h[r], to_x[t + r, start:stop])
    sums[0], sums[1] = to_alpha, to_bias
