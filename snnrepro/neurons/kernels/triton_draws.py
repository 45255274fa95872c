"""Loops over time with drawn spikes on CUDA, as in triton_scan.py: SPSN and MPE-PSN.

The noise is read where it is given, else computed in the kernel from key and draw (int64 `[]`).
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# The compiler looks up what a kernel's arguments are annotated with: Any it does not know.

import triton.language as tl  # type: ignore[import-untyped]

from snnrepro.neurons.kernels.triton_math import (
    derivative,
    fire,
    kernel,
    neurons_of,
    noise_of,
    of_alpha,
    of_draw,
    place,
    read,
    read_width,
    sigmoid,
    store_sum,
)

# Spikes drawn with a probability.


@kernel
def drawn_forward(
    x,
    noise,
    key,
    draw,
    out,
    N,
    decay,
    T: tl.constexpr,
    MEMBRANE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Reads x (4), noise (4) where given, writes out (4)."""
    n, inside = neurons_of(N, BLOCK)
    hashed = of_draw(noise, key, draw)
    d = tl.zeros([BLOCK], tl.float32)
    for t in tl.range(T, num_stages=STAGES):
        at = place(t, n, N)
        d = (d + read(x, at, inside)) * decay
        if MEMBRANE:
            tl.store(out + at, d, mask=inside)
        else:
            drawn = noise_of(noise, hashed, t, n, at, inside) < sigmoid(d)
            tl.store(out + at, tl.where(drawn, 1.0, 0.0), mask=inside)


@kernel
def drawn_backward(
    g,
    x,
    scratch,
    to_x,
    N,
    decay,
    T: tl.constexpr,
    OF_SIGMOID: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """OF_SIGMOID: reads x, writes sigmoid'(d); reads it and g, writes to_x: 20. Else reads g, writes to_x: 8."""
    n, inside = neurons_of(N, BLOCK)
    if OF_SIGMOID:
        d = tl.zeros([BLOCK], tl.float32)
        for t in tl.range(T, num_stages=STAGES):
            at = place(t, n, N)
            d = (d + read(x, at, inside)) * decay
            p = sigmoid(d)
            tl.store(scratch + at, p * (1.0 - p), mask=inside)
        tl.debug_barrier()
    to_d = tl.zeros([BLOCK], tl.float32)
    for back in tl.range(T, num_stages=STAGES):
        at = place(T - 1 - back, n, N)
        up = read(g, at, inside)
        if OF_SIGMOID:
            up *= read(scratch, at, inside)
        to_d = (to_d + up) * decay
        tl.store(to_x + at, to_d, mask=inside)


# A membrane estimated from each step's own input.


@kernel
def _guess(x, noise, hashed, t, n, at, inside):
    """b."""
    return noise_of(noise, hashed, t, n, at, inside) < sigmoid(x)


@kernel
def guessed_forward(
    x,
    v_threshold,
    noise,
    key,
    draw,
    out,
    errors,
    N,
    beta,
    T: tl.constexpr,
    MEMBRANE: tl.constexpr,
    CURRENT: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """errors `[programs, T]`, or `[programs, T-1]` where CURRENT. Reads x (4), noise where given, writes out (4)."""
    n, inside = neurons_of(N, BLOCK)
    hashed = of_draw(noise, key, draw)
    threshold = tl.load(v_threshold).to(tl.float32)
    vhat_before = tl.zeros([BLOCK], tl.float32)
    v_before = tl.zeros([BLOCK], tl.float32)
    for t in tl.range(T, num_stages=STAGES):
        at = place(t, n, N)
        current = read(x, at, inside)
        vhat = tl.where(_guess(current, noise, hashed, t, n, at, inside), 0.0, current)
        h = current + tl.where(t > 0, beta, 0.0) * (vhat if CURRENT else vhat_before)
        s = fire(h, threshold, True)
        tl.store(out + at, h if MEMBRANE else s, mask=inside)
        v = (1.0 - s) * h
        if errors is not None:
            if CURRENT:
                error = vhat - v_before
                row = errors + tl.program_id(0) * (T - 1) + t - 1
                tl.store(row, tl.sum(error * error, 0), mask=t > 0)
            else:
                error = vhat - v
                tl.store(errors + tl.program_id(0) * T + t, tl.sum(error * error, 0))
        vhat_before = vhat
        v_before = v


@kernel
def guessed_backward(
    g,
    of_errors,
    x,
    v_threshold,
    noise,
    key,
    draw,
    to_x,
    to_threshold,
    alpha_pointer,
    to_alpha,
    N,
    alpha,
    beta,
    T: tl.constexpr,
    MEMBRANE: tl.constexpr,
    CURRENT: tl.constexpr,
    CODE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """of_errors `[T]` or `[T-1]`: the gradient of the errors. Reads g, x and noise where given, writes to_x: 12.

    A step needs its neighbour's x and no membrane further back, so nothing is recomputed or kept.
    """
    n, inside = neurons_of(N, BLOCK)
    hashed = of_draw(noise, key, draw)
    threshold = tl.load(v_threshold).to(tl.float32)
    width = read_width(alpha_pointer, alpha)
    last = place(T - 1, n, N)
    current = read(x, last, inside)
    guess = _guess(current, noise, hashed, T - 1, n, last, inside)
    vhat = tl.where(guess, 0.0, current)
    later = tl.zeros([BLOCK], tl.float32)  # to vhat[t] from h[t+1], or to v[t] from the error of t where CURRENT
    sum_threshold = tl.zeros([BLOCK], tl.float32)
    sum_alpha = tl.zeros([BLOCK], tl.float32)
    for back in tl.range(T, num_stages=STAGES):
        t = T - 1 - back
        at = place(t, n, N)
        up = read(g, at, inside)
        earlier = inside & (t > 0)
        x_before = read(x, at - N, earlier)
        guess_before = _guess(x_before, noise, hashed, t - 1, n, at - N, earlier)
        vhat_before = tl.where(guess_before, 0.0, x_before)  # 0 before the start, as x_before is
        factor = tl.where(t > 0, beta, 0.0)
        h = current + factor * (vhat if CURRENT else vhat_before)
        s = fire(h, threshold, True)
        to_vhat = tl.zeros([BLOCK], tl.float32)
        to_v = tl.zeros([BLOCK], tl.float32)
        if CURRENT:
            to_v = later
            if of_errors is not None:
                h_before = x_before + tl.where(t > 1, beta, 0.0) * vhat_before
                error = vhat - (1.0 - fire(h_before, threshold, True)) * h_before
                to_vhat = 2.0 * tl.load(of_errors + t - 1, mask=t > 0, other=0.0) * error
                later = -to_vhat
        else:
            to_vhat = later
            if of_errors is not None:
                to_error = 2.0 * tl.load(of_errors + t) * (vhat - (1.0 - s) * h)
                to_vhat += to_error
                to_v = -to_error
        to_s = -h * to_v
        to_h = (1.0 - s) * to_v
        if MEMBRANE:
            to_h += up
        else:
            to_s += up
        u = h - threshold
        through = to_s * derivative(u, width, CODE)
        to_h += through
        sum_threshold += through
        if to_alpha is not None:
            sum_alpha += of_alpha(u, through, width, CODE)
        if CURRENT:
            to_vhat += factor * to_h
        else:
            later = factor * to_h
        if to_x is not None:
            tl.store(to_x + at, to_h + tl.where(guess, 0.0, to_vhat), mask=inside)
        current = x_before
        guess = guess_before
        vhat = vhat_before
    store_sum(to_alpha, sum_alpha)
    store_sum(to_threshold, -sum_threshold)
