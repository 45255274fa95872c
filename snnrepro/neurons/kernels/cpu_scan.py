"""Loops over time on the CPU: one pass over memory, the state of a block of neighbouring neurons in the cache.

Shapes: x, g (upstream gradient), out, to_x `[T, N]`, contiguous; what is said to be per neuron `[N]`. Each kernel works
on the neurons lo to hi, `width` at a time (cpu_ops.py shares them out over threads). Backward recomputes the membrane
of a block into a scratch `[T, width]` rather than have forward store it: the scratch stays in the cache.
Families and settings are those of families.py; numbers come in the arrays' dtype, since a Python number would raise
the arithmetic to float64. sums `[2]`: of the kernel's neurons, the gradients to alpha and, where learned, v_threshold.
"""

from typing import Any

import numpy as np

from snnrepro.compiled import compiled
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
    multiply_row,
    scale_row,
    sigmoid_row,
)
from snnrepro.neurons.kernels.families import HARD, IPSU, PSU, RPSU, SOFT

Array = np.ndarray[Any, Any]


@compiled
def _values(per_neuron: Array, start: int, row: Array) -> None:
    """One value for all, `[1]`, or one for each, `[N]`, as a row."""
    if len(per_neuron) == 1:
        fill_row(per_neuron[0], row)
    else:
        copy_row(per_neuron[start : start + len(row)], row)


@compiled
def _charge(v: Array, x: Array, leak: Array, rest: float, decay_input: bool) -> None:
    """v becomes h, in place."""
    if decay_input:
        for n in range(len(x)):
            v[n] += (x[n] - (v[n] - rest)) * leak[n]
    else:
        for n in range(len(x)):
            v[n] += x[n] - (v[n] - rest) * leak[n]


@compiled
def _reset(v: Array, spikes: Array, reset: int, v_threshold: float, v_reset: float) -> None:
    """h becomes v, in place."""
    if reset == SOFT:
        for n in range(len(spikes)):
            v[n] -= spikes[n] * v_threshold
    elif reset == HARD:
        one = v.dtype.type(1)
        for n in range(len(spikes)):
            v[n] = v[n] * (one - spikes[n]) + spikes[n] * v_reset


@compiled
def resetting_forward(
    lo: int, hi: int, width: int, out: Array, x: Array, leak: Array, membrane: bool, v_threshold: float, strict: bool,
    reset: int, rest: float, v_reset: float, decay_input: bool,
) -> None:  # fmt: skip
    v, s, leaks = np.empty(width, x.dtype), np.empty(width, x.dtype), np.empty(width, x.dtype)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        m = stop - start
        fill_row(rest, v[:m])
        _values(leak, start, leaks[:m])
        for t in range(len(x)):
            _charge(v[:m], x[t, start:stop], leaks, rest, decay_input)
            fired = s[:m] if membrane else out[t, start:stop]
            fire_row(v, v_threshold, strict, fired)
            if membrane:
                copy_row(v, out[t, start:stop])
            _reset(v, fired, reset, v_threshold, v_reset)


@compiled
def _through_reset(
    g: Array, h: Array, s: Array, to_v: Array, membrane: bool, reset: int, detach: bool, v_threshold: float, v_reset:
    float, to_s: Array, to_h: Array,
) -> None:  # fmt: skip
    """What reaches s and h of a step from above: g, and to_v through the reset."""
    one, zero = h.dtype.type(1), h.dtype.type(0)
    of_s, of_h = (zero, one) if membrane else (one, zero)
    scale_row(g, of_s, to_s[: len(g)])
    scale_row(g, of_h, to_h[: len(g)])
    if reset == SOFT:
        add_row(to_v, to_h[: len(g)])
        if not detach:
            for n in range(len(g)):
                to_s[n] -= v_threshold * to_v[n]
    elif reset == HARD:
        for n in range(len(g)):
            to_h[n] += (one - s[n]) * to_v[n]
        if not detach:
            for n in range(len(g)):
                to_s[n] += (v_reset - h[n]) * to_v[n]
    else:
        add_row(to_v, to_h[: len(g)])


@compiled
def _discharge(to_h: Array, leak: Array, decay_input: bool, to_x: Array, to_v: Array) -> None:
    """The gradient to h passes on to x and to v of the step before."""
    one = to_h.dtype.type(1)
    if decay_input:
        for n in range(len(to_x)):
            to_x[n] = to_h[n] * leak[n]
    else:
        copy_row(to_h, to_x)
    for n in range(len(to_x)):
        to_v[n] = to_h[n] * (one - leak[n])


@compiled
def _leak_gradient(to_h: Array, x: Array, v: Array, rest: float, decay_input: bool, to_leak: Array) -> None:
    if decay_input:
        for n in range(len(to_leak)):
            to_leak[n] += to_h[n] * (x[n] - (v[n] - rest))
    else:
        for n in range(len(to_leak)):
            to_leak[n] -= to_h[n] * (v[n] - rest)


@compiled
def resetting_backward(
    lo: int, hi: int, width: int, sums: Array, g: Array, to_x: Array, to_leak: Array, x: Array, leak: Array, membrane:
    bool, code: int, alpha: float, v_threshold: float, strict: bool, reset: int, rest: float, v_reset: float, detach:
    bool, decay_input: bool, learn_leak: bool, learn_alpha: bool,
) -> None:  # fmt: skip
    T, dtype = len(x), x.dtype
    H = np.empty((T, width), dtype)
    v, s, leaks, u = np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype)
    q, to_v, to_s, to_h = np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype)
    to_alpha = dtype.type(0)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        m = stop - start
        fill_row(rest, v[:m])
        _values(leak, start, leaks[:m])
        for t in range(T):
            _charge(v[:m], x[t, start:stop], leaks, rest, decay_input)
            copy_row(v, H[t, :m])
            fire_row(v, v_threshold, strict, s[:m])
            _reset(v, s[:m], reset, v_threshold, v_reset)
        fill_row(0, to_v[:m])
        for t in range(T - 1, -1, -1):
            h = H[t, :m]
            fire_row(h, v_threshold, strict, s[:m])
            above_row(h, v_threshold, u[:m])
            derivative_row(code, u[:m], alpha, q[:m])
            _through_reset(g[t, start:stop], h, s, to_v, membrane, reset, detach, v_threshold, v_reset, to_s, to_h)
            multiply_row(to_s, q[:m])
            add_row(q, to_h[:m])
            if learn_alpha:
                to_alpha += alpha_gradient(code, u[:m], q, alpha)
            if learn_leak:
                if t:
                    copy_row(H[t - 1], v[:m])
                    fire_row(v, v_threshold, strict, s[:m])
                    _reset(v, s[:m], reset, v_threshold, v_reset)
                else:
                    fill_row(rest, v[:m])
                row, current = to_leak[start:stop], x[t, start:stop]
                _leak_gradient(to_h, current, v, rest, decay_input, row)
            _discharge(to_h, leaks, decay_input, to_x[t, start:stop], to_v)
    sums[0] = to_alpha


@compiled
def _reset_estimate(base: Array, r: Array, drop: float, level: float, u: Array) -> None:
    """base - drop r - level."""
    for n in range(len(u)):
        u[n] = base[n] - drop * r[n] - level


@compiled
def _estimate_backward(to_r: Array, decay: float, p: Array) -> None:
    """p = sigmoid(e) becomes the gradient to e."""
    one = p.dtype.type(1)
    for n in range(len(p)):
        p[n] *= to_r[n] * decay * (one - p[n])


@compiled
def _earlier(to_r: Array, decay: float, drop: float, to_h: Array) -> None:
    """The gradient to r of the step before."""
    for n in range(len(to_h)):
        to_r[n] = to_r[n] * decay - drop * to_h[n]


@compiled
def estimated_forward(
    lo: int, hi: int, width: int, out: Array, x: Array, estimate: Array, membrane: bool, v_threshold: float, kind: int,
    decay: float, drop: float,
) -> None:  # fmt: skip
    """`estimate` is m; x of an IPSU and m of a PSU are not read."""
    T, dtype = len(out), out.dtype
    d, r, p, h = np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype)
    zero = dtype.type(0)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        m = stop - start
        fill_row(0, d[:m])
        fill_row(0, r[:m])
        for t in range(T):
            if kind != IPSU:
                leaky_row(d, x[t, start:stop], decay)
            seen = d[:m] if kind == PSU else estimate[t, start:stop]
            base = estimate[t, start:stop] if kind == IPSU else d[:m]
            row = out[t, start:stop]
            if membrane:
                _reset_estimate(base, r, drop, zero, row)
            else:
                _reset_estimate(base, r, drop, zero, h[:m])
                fire_row(h, v_threshold, True, row)
            sigmoid_row(seen, p[:m])
            leaky_row(r, p[:m], decay)


@compiled
def estimated_backward(
    lo: int, hi: int, width: int, sums: Array, g: Array, to_x: Array, to_estimate: Array, x: Array, estimate: Array,
    membrane: bool, code: int, alpha: float, v_threshold: float, kind: int, decay: float, drop: float, learn_alpha:
    bool,
) -> None:  # fmt: skip
    T, dtype = len(g), g.dtype
    P, Q = np.empty((T, width), dtype), np.empty((T, width), dtype)
    d, r, u = np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype)
    to_alpha = dtype.type(0)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        m = stop - start
        fill_row(0, d[:m])
        fill_row(0, r[:m])
        for t in range(T):
            upstream = g[t, start:stop]
            if kind != IPSU:
                leaky_row(d, x[t, start:stop], decay)
            seen = d[:m] if kind == PSU else estimate[t, start:stop]
            base = estimate[t, start:stop] if kind == IPSU else d[:m]
            q = Q[t, :m]
            if membrane:
                copy_row(upstream, q)
            else:
                _reset_estimate(base, r, drop, v_threshold, u[:m])
                derivative_row(code, u[:m], alpha, q)
                multiply_row(upstream, q)
                if learn_alpha:
                    to_alpha += alpha_gradient(code, u[:m], q, alpha)
            sigmoid_row(seen, P[t, :m])
            leaky_row(r, P[t, :m], decay)
        to_d, to_r = d, r
        fill_row(0, to_d[:m])
        fill_row(0, to_r[:m])
        for t in range(T - 1, -1, -1):
            p, q = P[t, :m], Q[t, :m]
            _estimate_backward(to_r, decay, p)
            _earlier(to_r, decay, drop, q)
            if kind == RPSU:
                copy_row(p, to_estimate[t, start:stop])
            else:
                add_row(p, q)
            if kind == IPSU:
                copy_row(q, to_estimate[t, start:stop])
            else:
                leaky_row(to_d, q, decay)
                copy_row(to_d, to_x[t, start:stop])
    sums[0] = to_alpha


@compiled
def _integrate(v: Array, x: Array, beta: Array) -> None:
    """v = beta v + x, in place."""
    for n in range(len(x)):
        v[n] = beta[n] * v[n] + x[n]


@compiled
def _fire_once(v: Array, v_threshold: float, waits: Array, spikes: Array) -> None:
    """waits: 1 before the first crossing, then 0."""
    zero = v.dtype.type(0)
    for n in range(len(spikes)):
        spikes[n] = waits[n] if v[n] > v_threshold else zero
    for n in range(len(spikes)):
        waits[n] -= spikes[n]


@compiled
def first_crossing_forward(
    lo: int, hi: int, width: int, out: Array, x: Array, beta: Array, membrane: bool, v_threshold: float
) -> None:
    v, waits, betas = np.empty(width, x.dtype), np.empty(width, x.dtype), np.empty(width, x.dtype)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        m = stop - start
        fill_row(0, v[:m])
        fill_row(1, waits[:m])
        _values(beta, start, betas[:m])
        for t in range(len(x)):
            _integrate(v, x[t, start:stop], betas)
            row = out[t, start:stop]
            if membrane:
                copy_row(v, row)
            else:
                _fire_once(v, v_threshold, waits, row)


@compiled
def first_crossing_backward(
    lo: int, hi: int, width: int, sums: Array, g: Array, to_x: Array, to_beta: Array, x: Array, beta: Array, membrane:
    bool, code: int, alpha: float, v_threshold: float, only_before: bool, learn_beta: bool, learn_alpha: bool,
) -> None:  # fmt: skip
    T, dtype, one, zero = len(x), x.dtype, x.dtype.type(1), x.dtype.type(0)
    V = np.empty((T, width), dtype)
    v, betas, u, q = np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype)
    once, twice, to_v, before = (
        np.empty(width, dtype),
        np.empty(width, dtype),
        np.empty(width, dtype),
        np.empty(width, dtype),
    )
    first = np.empty(width, np.int32)
    to_alpha = dtype.type(0)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        m = stop - start
        fill_row(0, v[:m])
        _values(beta, start, betas[:m])
        if only_before:
            fill_row(T, first[:m])
        for t in range(T):
            _integrate(v, x[t, start:stop], betas)
            copy_row(v, V[t, :m])
            if only_before:
                for n in range(m):
                    if v[n] > v_threshold and first[n] > t:
                        first[n] = t
        fill_row(0, once[:m])
        fill_row(0, twice[:m])
        fill_row(0, to_v[:m])
        for t in range(T - 1, -1, -1):
            upstream, row = g[t, start:stop], to_x[t, start:stop]
            if membrane:
                _integrate(to_v, upstream, betas)
            else:
                if only_before:
                    for n in range(m):
                        before[n] = one if t < first[n] else zero
                    add_product_row(upstream, before, once[:m])
                else:
                    add_row(upstream, once[:m])
                add_row(once, twice[:m])
                above_row(V[t], v_threshold, u[:m])
                derivative_row(code, u[:m], alpha, q[:m])
                multiply_row(twice, q[:m])
                _integrate(to_v, q[:m], betas)
                if learn_alpha:
                    to_alpha += alpha_gradient(code, u[:m], q, alpha)
            copy_row(to_v, row)
            if learn_beta and t:
                add_product_row(to_v, V[t - 1], to_beta[start:stop])
    sums[0] = to_alpha


@compiled
def _adapt(
    a: Array, h: Array, s: Array, x: Array, decay_a: Array, decay_h: Array, v_threshold: float, beta: float
) -> None:
    """a and h of the next step, in place; s is of the step before."""
    one = x.dtype.type(1)
    for n in range(len(x)):
        a[n] = decay_a[n] * a[n] + (one - decay_a[n]) * s[n]
        theta = v_threshold + beta * a[n]
        h[n] = decay_h[n] * h[n] + (one - decay_h[n]) * x[n] - theta * s[n]


@compiled
def _above_theta(h: Array, a: Array, v_threshold: float, beta: float, u: Array) -> None:
    for n in range(len(u)):
        u[n] = h[n] - (v_threshold + beta * a[n])


@compiled
def _fire_above(h: Array, a: Array, v_threshold: float, beta: float, spikes: Array) -> None:
    one, zero = h.dtype.type(1), h.dtype.type(0)
    for n in range(len(spikes)):
        spikes[n] = one if h[n] > v_threshold + beta * a[n] else zero


@compiled
def _add_where_differs(to: Array, x: Array, y: Array, by: Array) -> None:
    """to += by (x - y)."""
    for n in range(len(to)):
        to[n] += by[n] * (x[n] - y[n])


@compiled
def _to_adaptation(to_a: Array, q: Array, to_h: Array, s: Array, beta: float) -> None:
    for n in range(len(to_a)):
        to_a[n] -= beta * (q[n] + to_h[n] * s[n])


@compiled
def _to_earlier_spikes(
    to_a: Array, rho: Array, to_h: Array, a: Array, v_threshold: float, beta: float, to_s: Array
) -> None:
    one = to_a.dtype.type(1)
    for n in range(len(to_s)):
        to_s[n] = to_a[n] * (one - rho[n])
    for n in range(len(to_s)):
        to_s[n] -= to_h[n] * (v_threshold + beta * a[n])


@compiled
def _complement_row(leak: Array, to_h: Array, out: Array) -> None:
    one = leak.dtype.type(1)
    for n in range(len(out)):
        out[n] = (one - leak[n]) * to_h[n]


@compiled
def adaptive_forward(
    lo: int, hi: int, width: int, out: Array, x: Array, decay_h: Array, decay_a: Array, membrane: bool, v_threshold:
    float, beta: float,
) -> None:  # fmt: skip
    a, h, s = np.empty(width, x.dtype), np.empty(width, x.dtype), np.empty(width, x.dtype)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        m = stop - start
        fill_row(v_threshold, a[:m])
        fill_row(0, h[:m])
        fill_row(0, s[:m])
        for t in range(len(x)):
            _adapt(a, h, s, x[t, start:stop], decay_a[start:stop], decay_h[start:stop], v_threshold, beta)
            _fire_above(h, a, v_threshold, beta, s[:m])
            copy_row(h if membrane else s, out[t, start:stop])


@compiled
def adaptive_backward(
    lo: int, hi: int, width: int, sums: Array, g: Array, to_x: Array, to_decay_h: Array, to_decay_a: Array, x: Array,
    decay_h: Array, decay_a: Array, membrane: bool, code: int, alpha: float, v_threshold: float, beta: float,
    learn_alpha: bool,
) -> None:  # fmt: skip
    T, dtype = len(x), x.dtype
    A, H = np.empty((T, width), dtype), np.empty((T, width), dtype)
    a, h, s, u, q = (
        np.empty(width, dtype),
        np.empty(width, dtype),
        np.empty(width, dtype),
        np.empty(width, dtype),
        np.empty(width, dtype),
    )
    to_a, to_h, to_s = np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype)
    to_alpha = dtype.type(0)
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        m = stop - start
        rho, leak = decay_a[start:stop], decay_h[start:stop]
        fill_row(v_threshold, a[:m])
        fill_row(0, h[:m])
        fill_row(0, s[:m])
        for t in range(T):
            _adapt(a, h, s, x[t, start:stop], rho, leak, v_threshold, beta)
            copy_row(a, A[t, :m])
            copy_row(h, H[t, :m])
            _fire_above(h, a, v_threshold, beta, s[:m])
        fill_row(0, to_a[:m])
        fill_row(0, to_h[:m])
        fill_row(0, to_s[:m])
        for t in range(T - 1, -1, -1):
            upstream, row = g[t, start:stop], to_x[t, start:stop]
            _above_theta(H[t], A[t], v_threshold, beta, u[:m])
            derivative_row(code, u[:m], alpha, q[:m])
            if t:  # the step before
                copy_row(A[t - 1], a[:m])
                copy_row(H[t - 1], h[:m])
                _fire_above(h, a, v_threshold, beta, s[:m])
            else:
                fill_row(v_threshold, a[:m])
                fill_row(0, h[:m])
                fill_row(0, s[:m])
            if membrane:
                multiply_row(to_s, q[:m])
                add_row(upstream, to_h[:m])
            else:
                add_row(upstream, to_s[:m])
                multiply_row(to_s, q[:m])
            add_row(q, to_h[:m])
            if learn_alpha:
                to_alpha += alpha_gradient(code, u[:m], q, alpha)
            of_leak, of_rho, current = to_decay_h[start:stop], to_decay_a[start:stop], x[t, start:stop]
            _to_adaptation(to_a[:m], q, to_h, s, beta)
            _add_where_differs(of_leak, h, current, to_h)
            _add_where_differs(of_rho, a, s, to_a)
            _to_earlier_spikes(to_a, rho, to_h, A[t], v_threshold, beta, to_s[:m])
            _complement_row(leak, to_h, row)
            multiply_row(leak, to_h[:m])
            multiply_row(rho, to_a[:m])
    sums[0] = to_alpha
