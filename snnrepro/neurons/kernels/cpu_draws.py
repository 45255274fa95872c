"""Loops over time with drawn spikes on the CPU, as in cpu_scan.py: SPSN and MPE-PSN.

The noise is given, `[T, N]`, or computed for a row when that is needed, from key and draw.
"""

from typing import Any

import numpy as np

from snnrepro.compiled import FAST, compiled
from snnrepro.neurons.kernels.cpu_math import (
    above_row,
    add_product_row,
    add_row,
    alpha_gradient,
    copy_row,
    derivative_row,
    fill_row,
    fire_row,
    leaky_row,
    row_sum,
    scale_row,
    sigmoid_row,
    uniform_row,
    where_row,
)
from snnrepro.neurons.kernels.families import SIGMOID_GRADIENT, STRAIGHT_THROUGH

Array = np.ndarray[Any, Any]


@compiled
def _noise(noise: Array, given: bool, key: int, draw: int, t: int, start: int, row: Array) -> None:
    if given:
        copy_row(noise[t, start : start + len(row)], row)
    else:
        uniform_row(key, draw, t, start, row)


@compiled
def _draw(noise: Array, p: Array, spikes: Array) -> None:
    one, zero = p.dtype.type(1), p.dtype.type(0)
    for n in range(len(spikes)):
        spikes[n] = one if noise[n] < p[n] else zero


@compiled
def _through_probability(d: Array, g: Array, p: Array, decay: float) -> None:
    """The gradient to d, summed backward: d = decay (d + g sigmoid'), in place."""
    one = p.dtype.type(1)
    for n in range(len(g)):
        d[n] = decay * (d[n] + g[n] * p[n] * (one - p[n]))


@compiled
def drawn_forward(
    lo: int, hi: int, width: int, out: Array, x: Array, noise: Array, key: int, draw: int, membrane: bool, given: bool,
    decay: float,
) -> None:  # fmt: skip
    d, p, drawn = np.empty(width, x.dtype), np.empty(width, x.dtype), np.empty(width, x.dtype)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        m = stop - start
        fill_row(0, d[:m])
        for t in range(len(x)):
            leaky_row(d, x[t, start:stop], decay)
            row = out[t, start:stop]
            if membrane:
                copy_row(d, row)
            else:
                sigmoid_row(d, p[:m])
                _noise(noise, given, key, draw, t, start, drawn[:m])
                _draw(drawn, p, row)


@compiled
def drawn_backward(
    lo: int, hi: int, width: int, g: Array, to_x: Array, x: Array, membrane: bool, decay: float, gradient: int
) -> None:
    T, dtype = len(x), x.dtype
    of_probability = gradient == SIGMOID_GRADIENT and not membrane
    P = np.empty((T if of_probability else 0, width), dtype)
    d = np.empty(width, dtype)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        m = stop - start
        fill_row(0, d[:m])
        if of_probability:
            for t in range(T):
                leaky_row(d, x[t, start:stop], decay)
                sigmoid_row(d, P[t, :m])
            fill_row(0, d[:m])
        for t in range(T - 1, -1, -1):
            upstream, row = g[t, start:stop], to_x[t, start:stop]
            if of_probability:
                _through_probability(d, upstream, P[t], decay)
            elif membrane or gradient == STRAIGHT_THROUGH:
                leaky_row(d, upstream, decay)
            copy_row(d, row)


@compiled
def _keep(x: Array, p: Array, drawn: Array, keep: Array, vhat: Array) -> None:
    """keep: 1 where no spike is drawn; vhat = x there, else 0, whatever x is."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for n in range(len(x)):
        kept = not drawn[n] < p[n]
        keep[n] = one if kept else zero
        vhat[n] = x[n] if kept else zero


@compiled
def _guess(x: Array, beta: float, vhat: Array, h: Array) -> None:
    for n in range(len(x)):
        h[n] = x[n] + beta * vhat[n]


@compiled
def _error(vhat: Array, h: Array, s: Array, factor: float, out: Array) -> None:
    """factor (vhat - v), v = (1 - s) h."""
    one = h.dtype.type(1)
    for n in range(len(out)):
        out[n] = factor * (vhat[n] - (one - s[n]) * h[n])


@compiled
def _pulled(q: Array, g: Array, pull: Array, h: Array) -> None:
    """q = q (g + pull h): what reaches u, by the spikes and by v."""
    for n in range(len(g)):
        q[n] *= g[n] + pull[n] * h[n]


@compiled
def _release(q: Array, pull: Array, s: Array) -> None:
    one = q.dtype.type(1)
    for n in range(len(q)):
        q[n] -= pull[n] * (one - s[n])


@compiled(fastmath=FAST)
def _squared_error(vhat: Array, h: Array, s: Array) -> Any:
    one, total = vhat.dtype.type(1), vhat.dtype.type(0)
    for n in range(len(s)):
        error = vhat[n] - (one - s[n]) * h[n]
        total += error * error
    return total


@compiled
def guessed_forward(
    lo: int, hi: int, width: int, e: Array, out: Array, x: Array, v_threshold: float, noise: Array, key: int, draw:
    int, membrane: bool, given: bool, current: bool, beta: float, errors: bool,
) -> None:  # fmt: skip
    """e: this kernel's own sums, `[T]` or `[T-1]`."""
    dtype = x.dtype
    p, drawn, keep, h = np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype)
    now, earlier, s = np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        m = stop - start
        fill_row(0, earlier[:m])
        for t in range(len(x)):
            row, input_ = out[t, start:stop], x[t, start:stop]
            sigmoid_row(input_, p[:m])
            _noise(noise, given, key, draw, t, start, drawn[:m])
            _keep(input_, p, drawn, keep, now)
            if current and errors and t:  # of the step before, whose h and s are still here
                e[t - 1] += _squared_error(now, h, s[:m])
            if t == 0:
                copy_row(input_, h[:m])
            else:
                _guess(input_, beta, now if current else earlier, h)
            fire_row(h, v_threshold, True, s[:m])
            copy_row(h if membrane else s, row)
            if errors and not current:
                e[t] += _squared_error(now, h, s[:m])
            copy_row(now, earlier[:m])


@compiled
def guessed_backward(
    lo: int, hi: int, width: int, sums: Array, g: Array, to_e: Array, to_x: Array, x: Array, v_threshold: float, noise:
    Array, key: int, draw: int, membrane: bool, code: int, alpha: float, given: bool, current: bool, beta: float,
    errors: bool, learn_alpha: bool,
) -> None:  # fmt: skip
    T, dtype, two = len(x), x.dtype, x.dtype.type(2)
    K = np.empty((T, width), dtype)  # 1 where no spike is drawn
    p, drawn, vhat, h = np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype)
    s, u, q, pull = np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype)
    earlier, after, to_vhat = np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype)
    to_threshold, to_alpha = dtype.type(0), dtype.type(0)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        m = stop - start
        for t in range(T):
            sigmoid_row(x[t, start:stop], p[:m])
            _noise(noise, given, key, draw, t, start, drawn[:m])
            _keep(x[t, start:stop], p, drawn, K[t], vhat)
        fill_row(0, to_vhat[:m])
        fill_row(0, pull[:m])
        for t in range(T - 1, -1, -1):
            row, input_, upstream, keep = to_x[t, start:stop], x[t, start:stop], g[t, start:stop], K[t]
            where_row(input_, keep, vhat[:m])
            if t == 0:
                copy_row(input_, h[:m])
            elif current:
                _guess(input_, beta, vhat, h)
            else:
                where_row(x[t - 1, start:stop], K[t - 1], earlier[:m])
                _guess(input_, beta, earlier, h)
            fire_row(h, v_threshold, True, s[:m])
            if errors:
                if not current:
                    _error(vhat, h, s, two * to_e[t], pull[:m])
                    add_row(pull, to_vhat[:m])
                elif t < T - 1:
                    _error(after, h, s, two * to_e[t], pull[:m])
                    add_product_row(pull, K[t + 1], to_x[t + 1, start:stop])
                else:
                    fill_row(0, pull[:m])
            if membrane:
                copy_row(upstream, q[:m])
            else:
                above_row(h, v_threshold, u[:m])
                derivative_row(code, u[:m], alpha, q[:m])
                _pulled(q, upstream, pull, h)
                if learn_alpha:
                    to_alpha += alpha_gradient(code, u[:m], q, alpha)
                to_threshold -= row_sum(q[:m])
                if errors:
                    _release(q[:m], pull, s)
            if current:
                copy_row(q, row)
                if t:
                    scale_row(q, beta, to_vhat[:m])
                    add_product_row(to_vhat, keep, row)
                copy_row(vhat, after[:m])
            else:
                copy_row(q, row)
                add_product_row(to_vhat, keep, row)
                scale_row(q, beta, to_vhat[:m])
    sums[0], sums[1] = to_alpha, to_threshold
