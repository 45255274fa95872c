"""Linear loops over time on CUDA for few neurons and many steps, which one step after the other would leave idle.

Shapes and pointers as in triton_scan.py. w[t] = decay w[t-1] + gain x[t], CHUNK steps at once; h = rest + w.
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

# What the linear scan does with its membrane.
OUT_MEMBRANE, OUT_THRESHOLD, OUT_DRAW, OUT_FIRST = (tl.constexpr(i) for i in range(4))


@kernel
def _compose(decay_1, sum_1, decay_2, sum_2):
    """The second step after the first, each w -> decay w + sum."""
    return decay_1 * decay_2, decay_2 * sum_1 + sum_2


@kernel
def linear_forward(
    x,
    decay,
    gain,
    noise,
    key,
    draw,
    out,
    crossing,
    N,
    v_threshold,
    rest,
    T: tl.constexpr,
    PER_NEURON: tl.constexpr,
    OUT: tl.constexpr,
    STRICT: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """decay, gain `[N]` or `[1]`; crossing `[N]`, the first step with h > v_threshold or T. Reads x, writes out: 8."""
    n, inside = neurons_of(N, BLOCK)
    factor = read(decay, n * PER_NEURON, inside)
    scale = read(gain, n * PER_NEURON, inside)
    hashed = of_draw(noise, key, draw) if OUT == OUT_DRAW else 0
    carry = tl.zeros([BLOCK], tl.float32)
    first = tl.zeros([BLOCK], tl.int32) + T
    step = tl.arange(0, CHUNK)[:, None]
    neuron = n[None, :]
    factors = tl.zeros([CHUNK, BLOCK], tl.float32) + factor[None, :]
    for start in tl.range(0, T, CHUNK):
        t = start + step
        at = place(t, neuron, N)
        there = (t < T) & inside[None, :]
        powers, sums = tl.associative_scan((factors, scale[None, :] * read(x, at, there)), 0, _compose)
        w = powers * carry[None, :] + sums
        carry = tl.sum(tl.where(step == CHUNK - 1, w, 0.0), 0)
        h = rest + w
        if crossing is not None or OUT == OUT_FIRST:
            first = tl.minimum(first, tl.min(tl.where((h > v_threshold) & (t < T), t, T), 0))
        if OUT == OUT_MEMBRANE:
            result = h
        elif OUT == OUT_THRESHOLD:
            result = fire(h, v_threshold, STRICT)
        elif OUT == OUT_DRAW:
            result = tl.where(noise_of(noise, hashed, t, neuron, at, there) < sigmoid(h), 1.0, 0.0)
        else:
            result = tl.where(t == first[None, :], 1.0, 0.0)
        tl.store(out + at, result, mask=there)
    if crossing is not None:
        tl.store(crossing + n, first, mask=inside)


@kernel
def linear_backward(
    g,
    h,
    x,
    crossing,
    decay,
    gain,
    to_x,
    to_decay,
    to_gain,
    alpha_pointer,
    to_alpha,
    N,
    alpha,
    v_threshold,
    rest,
    T: tl.constexpr,
    PER_NEURON: tl.constexpr,
    OUT: tl.constexpr,
    ONLY_BEFORE: tl.constexpr,
    CODE: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """to_decay, to_gain `[N]`. h `[T, N]` fp32, another pass's, if OUT or to_decay need it.

    Reads g and h, writes to_x: 12; h again for to_decay, x for to_gain.
    """
    n, inside = neurons_of(N, BLOCK)
    factor = read(decay, n * PER_NEURON, inside)
    scale = read(gain, n * PER_NEURON, inside)
    width = read_width(alpha_pointer, alpha)
    carry = tl.zeros([BLOCK], tl.float32)
    once = tl.zeros([BLOCK], tl.float32)
    twice = tl.zeros([BLOCK], tl.float32)
    sum_decay = tl.zeros([BLOCK], tl.float32)
    sum_gain = tl.zeros([BLOCK], tl.float32)
    sum_alpha = tl.zeros([BLOCK], tl.float32)
    step = tl.arange(0, CHUNK)[:, None]
    factors = tl.zeros([CHUNK, BLOCK], tl.float32) + factor[None, :]
    for back in tl.range(0, T, CHUNK):
        t = (T + CHUNK - 1) // CHUNK * CHUNK - CHUNK - back + step
        at = place(t, n[None, :], N)
        there = (t < T) & inside[None, :]
        to_w = read(g, at, there)
        if OUT == OUT_FIRST:
            if ONLY_BEFORE:
                first = tl.load(crossing + n, mask=inside, other=0)
                to_w = tl.where(t < first[None, :], to_w, 0.0)
            sums = tl.cumsum(to_w, 0, reverse=True) + once[None, :]
            once = tl.sum(tl.where(step == 0, sums, 0.0), 0)
            to_w = tl.cumsum(sums, 0, reverse=True) + twice[None, :]
            twice = tl.sum(tl.where(step == 0, to_w, 0.0), 0)
        if OUT == OUT_DRAW:
            p = sigmoid(read(h, at, there))
            to_w *= p * (1.0 - p)
        elif OUT != OUT_MEMBRANE:
            u = read(h, at, there) - v_threshold
            to_w *= derivative(u, width, CODE)
            if to_alpha is not None:
                sum_alpha += tl.sum(of_alpha(u, to_w, width, CODE), 0)
        powers, sums = tl.associative_scan((factors, to_w), 0, _compose, reverse=True)
        to_w = powers * carry[None, :] + sums
        carry = tl.sum(tl.where(step == 0, to_w, 0.0), 0)
        if to_x is not None:
            tl.store(to_x + at, to_w * scale[None, :], mask=there)
        if to_decay is not None:
            w = tl.where(t > 0, read(h, at - N, there & (t > 0)) - rest, 0.0)
            sum_decay += tl.sum(to_w * w, 0)
        if to_gain is not None:
            sum_gain += tl.sum(to_w * read(x, at, there), 0)
    store_sum(to_alpha, sum_alpha)
    if to_decay is not None:
        tl.store(to_decay + n, sum_decay, mask=inside)
    if to_gain is not None:
        tl.store(to_gain + n, sum_gain, mask=inside)
