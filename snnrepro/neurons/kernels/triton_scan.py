"""Loops over time on CUDA: a program for each BLOCK of neurons, their state in registers.

x, g (upstream gradient), out, to_x `[T, N]` of x's dtype (2 or 4 bytes an element); scratch `[T, N]` fp32. Each kernel
says what it moves, in bytes an element for x in fp32. Backward first recomputes forward into the scratch, if it needs
the membrane, then goes back in time. The scratch may be to_x where that is fp32: a row is read before it is written.
`barrier` between the two makes a program's own rows visible to all its threads, however these share them out.

to_alpha and other sums over neurons: `[programs]`, one partial sum each, so that a result is the same every time. A
pointer that is None is not used. STAGES: how many steps ahead rows are fetched, 1 for none, where the programs are too
few to hide the memory's latency from each other. MEMBRANE: out is h, and g its gradient; otherwise spikes.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# The compiler looks up what a kernel's arguments are annotated with: Any it does not know.

import triton.language as tl  # type: ignore[import-untyped]

from snnrepro.neurons.kernels import families
from snnrepro.neurons.kernels.triton_math import (
    derivative,
    fire,
    kernel,
    neurons_of,
    of_alpha,
    place,
    read,
    read_width,
    sigmoid,
    store_sum,
)

SOFT = tl.constexpr(families.SOFT)
HARD = tl.constexpr(families.HARD)
PSU = tl.constexpr(families.PSU)
IPSU = tl.constexpr(families.IPSU)
RPSU = tl.constexpr(families.RPSU)


# Charge, fire and reset.


@kernel
def _charge(v, x, rate, rest, DECAY_INPUT: tl.constexpr):
    return v + (x - (v - rest)) * rate if DECAY_INPUT else v - (v - rest) * rate + x


@kernel
def _after_reset(h, s, v_threshold, v_reset, RESET: tl.constexpr):
    if RESET == SOFT:
        v = h - s * v_threshold
    elif RESET == HARD:
        v = h * (1.0 - s) + s * v_reset
    else:
        v = h
    return v


@kernel
def resetting_forward(
    x,
    leak,
    out,
    N,
    v_threshold,
    rest,
    v_reset,
    T: tl.constexpr,
    PER_NEURON: tl.constexpr,
    MEMBRANE: tl.constexpr,
    STRICT: tl.constexpr,
    RESET: tl.constexpr,
    DECAY_INPUT: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """leak `[N]` where PER_NEURON is 1, `[1]` where it is 0. Reads x (4), writes out (4)."""
    n, inside = neurons_of(N, BLOCK)
    rate = read(leak, n * PER_NEURON, inside)
    v = tl.zeros([BLOCK], tl.float32) + rest
    for t in tl.range(T, num_stages=STAGES):
        at = place(t, n, N)
        h = _charge(v, read(x, at, inside), rate, rest, DECAY_INPUT)
        s = fire(h, v_threshold, STRICT)
        tl.store(out + at, h if MEMBRANE else s, mask=inside)
        v = _after_reset(h, s, v_threshold, v_reset, RESET)


@kernel
def resetting_backward(
    g,
    x,
    leak,
    scratch,
    to_x,
    to_leak,
    alpha_pointer,
    to_alpha,
    N,
    alpha,
    v_threshold,
    rest,
    v_reset,
    T: tl.constexpr,
    PER_NEURON: tl.constexpr,
    MEMBRANE: tl.constexpr,
    STRICT: tl.constexpr,
    RESET: tl.constexpr,
    DETACH: tl.constexpr,
    DECAY_INPUT: tl.constexpr,
    CODE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Reads x, writes h; reads g and h, writes to_x: 20; x once more where leak learns and the input decays.

    to_leak `[N]` where PER_NEURON is 1, else `[programs]`.
    """
    n, inside = neurons_of(N, BLOCK)
    rate = read(leak, n * PER_NEURON, inside)
    width = read_width(alpha_pointer, alpha)
    resetting_forward(
        x, leak, scratch, N, v_threshold, rest, v_reset, T, PER_NEURON, True, STRICT, RESET, DECAY_INPUT, STAGES, BLOCK
    )
    tl.debug_barrier()
    to_v = tl.zeros([BLOCK], tl.float32)
    sum_leak = tl.zeros([BLOCK], tl.float32)
    sum_alpha = tl.zeros([BLOCK], tl.float32)
    h = read(scratch, place(T - 1, n, N), inside)
    for back in tl.range(T, num_stages=STAGES):
        t = T - 1 - back
        at = place(t, n, N)
        up = read(g, at, inside)
        h_before = read(scratch, at - N, inside & (t > 0))
        s = fire(h, v_threshold, STRICT)
        to_s = tl.zeros([BLOCK], tl.float32) if MEMBRANE else up
        to_h = up if MEMBRANE else tl.zeros([BLOCK], tl.float32)
        if RESET == SOFT:
            if not DETACH:
                to_s -= to_v * v_threshold
            to_h += to_v
        elif RESET == HARD:
            if not DETACH:
                to_s += to_v * (v_reset - h)
            to_h += to_v * (1.0 - s)
        else:
            to_h += to_v
        u = h - v_threshold
        through = to_s * derivative(u, width, CODE)
        to_h += through
        if to_alpha is not None:
            sum_alpha += of_alpha(u, through, width, CODE)
        if to_leak is not None:
            before = _after_reset(h_before, fire(h_before, v_threshold, STRICT), v_threshold, v_reset, RESET)
            gone = tl.where(t > 0, before - rest, 0.0)
            sum_leak += to_h * (read(x, at, inside) - gone if DECAY_INPUT else -gone)
        if to_x is not None:
            tl.store(to_x + at, to_h * rate if DECAY_INPUT else to_h, mask=inside)
        to_v = to_h * (1.0 - rate)
        h = h_before
    store_sum(to_alpha, sum_alpha)
    if to_leak is not None:
        if PER_NEURON == 1:
            tl.store(to_leak + n, sum_leak, mask=inside)
        else:
            store_sum(to_leak, sum_leak)


# A reset estimated from the sigmoid of a membrane without reset.


@kernel
def estimated_forward(
    x,
    m,
    out,
    scratch_h,
    scratch_d,
    N,
    v_threshold,
    decay,
    drop,
    T: tl.constexpr,
    KIND: tl.constexpr,
    MEMBRANE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Reads x or m or both (4 each), writes out (4); backward takes h and d instead."""
    n, inside = neurons_of(N, BLOCK)
    d = tl.zeros([BLOCK], tl.float32)
    r = tl.zeros([BLOCK], tl.float32)
    for t in tl.range(T, num_stages=STAGES):
        at = place(t, n, N)
        if KIND == IPSU:
            base = read(m, at, inside)
            estimate = base
        else:
            d = (d + read(x, at, inside)) * decay
            base = d
            estimate = read(m, at, inside) if KIND == RPSU else d
        h = base - r * drop
        r = (r + sigmoid(estimate)) * decay
        if out is not None:
            tl.store(out + at, h if MEMBRANE else fire(h, v_threshold, True), mask=inside)
        if scratch_h is not None:
            tl.store(scratch_h + at, h, mask=inside)
        if scratch_d is not None:
            tl.store(scratch_d + at, d, mask=inside)


@kernel
def estimated_backward(
    g,
    x,
    m,
    scratch_h,
    scratch_d,
    to_x,
    to_m,
    alpha_pointer,
    to_alpha,
    N,
    alpha,
    v_threshold,
    decay,
    drop,
    T: tl.constexpr,
    KIND: tl.constexpr,
    MEMBRANE: tl.constexpr,
    CODE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Where the output is spikes, scratch_h takes h, and for PSU scratch_d d; None where they are not needed.

    PSU: reads x, writes h and d, reads g, h and d, writes to_x: 28. IPSU, RPSU: reads the inputs, writes h, reads g, h
    and m, writes a gradient for each input: 24, 32. scratch_h may be RPSU's to_x, but not its to_m.
    """
    if scratch_h is not None or scratch_d is not None:
        estimated_forward(
            x, m, None, scratch_h, scratch_d, N, v_threshold, decay, drop, T, KIND, MEMBRANE, STAGES, BLOCK
        )
        tl.debug_barrier()
    n, inside = neurons_of(N, BLOCK)
    width = read_width(alpha_pointer, alpha)
    to_d = tl.zeros([BLOCK], tl.float32)
    to_r = tl.zeros([BLOCK], tl.float32)  # to r[t]
    sum_alpha = tl.zeros([BLOCK], tl.float32)
    for back in tl.range(T, num_stages=STAGES):
        at = place(T - 1 - back, n, N)
        to_h = read(g, at, inside)
        if not MEMBRANE:
            u = read(scratch_h, at, inside) - v_threshold
            to_h *= derivative(u, width, CODE)
            if to_alpha is not None:
                sum_alpha += of_alpha(u, to_h, width, CODE)
        p = sigmoid(read(scratch_d if KIND == PSU else m, at, inside))
        to_estimate = to_r * decay * (p * (1.0 - p))
        if KIND != IPSU:
            to_d = to_d * decay + to_h
            if KIND == PSU:
                to_d += to_estimate
            if to_x is not None:
                tl.store(to_x + at, to_d * decay, mask=inside)
        if KIND == IPSU:
            to_estimate += to_h
        if to_m is not None:
            tl.store(to_m + at, to_estimate, mask=inside)
        to_r = to_r * decay - to_h * drop
    store_sum(to_alpha, sum_alpha)


# The first crossing of a membrane without reset.


@kernel
def _until_crossing(
    x,
    decay,
    out,
    N,
    v_threshold,
    T: tl.constexpr,
    MEMBRANE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Writes h or the spikes; the first step with h > v_threshold, T for none."""
    n, inside = neurons_of(N, BLOCK)
    h = tl.zeros([BLOCK], tl.float32)
    first = tl.zeros([BLOCK], tl.int32) + T
    for t in tl.range(T, num_stages=STAGES):
        at = place(t, n, N)
        h = h * decay + read(x, at, inside)
        first = tl.where((h > v_threshold) & (t < first), t, first)
        tl.store(out + at, h if MEMBRANE else tl.where(first == t, 1.0, 0.0), mask=inside)
    return first


@kernel
def first_crossing_forward(
    x,
    beta,
    out,
    N,
    v_threshold,
    T: tl.constexpr,
    MEMBRANE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Reads x (4), writes out (4)."""
    n, inside = neurons_of(N, BLOCK)
    _until_crossing(x, read(beta, n, inside), out, N, v_threshold, T, MEMBRANE, STAGES, BLOCK)


@kernel
def first_crossing_backward(
    g,
    x,
    beta,
    scratch,
    to_x,
    to_beta,
    alpha_pointer,
    to_alpha,
    N,
    alpha,
    v_threshold,
    T: tl.constexpr,
    MEMBRANE: tl.constexpr,
    ONLY_BEFORE: tl.constexpr,
    CODE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Reads x, writes h; reads g and h, writes to_x: 20. The first crossing itself stays in registers."""
    n, inside = neurons_of(N, BLOCK)
    decay = read(beta, n, inside)
    width = read_width(alpha_pointer, alpha)
    first = _until_crossing(x, decay, scratch, N, v_threshold, T, True, STAGES, BLOCK)
    tl.debug_barrier()
    to_h = tl.zeros([BLOCK], tl.float32)
    once = tl.zeros([BLOCK], tl.float32)  # the running sum of to_z from the last step, and that of these
    twice = tl.zeros([BLOCK], tl.float32)
    sum_beta = tl.zeros([BLOCK], tl.float32)
    sum_alpha = tl.zeros([BLOCK], tl.float32)
    h = read(scratch, place(T - 1, n, N), inside)
    for back in tl.range(T, num_stages=STAGES):
        t = T - 1 - back
        at = place(t, n, N)
        up = read(g, at, inside)
        h_before = read(scratch, at - N, inside & (t > 0))
        if MEMBRANE:
            to_h = to_h * decay + up
        else:
            once += tl.where(t < first, up, 0.0) if ONLY_BEFORE else up
            twice += once
            u = h - v_threshold
            through = twice * derivative(u, width, CODE)
            to_h = to_h * decay + through
            if to_alpha is not None:
                sum_alpha += of_alpha(u, through, width, CODE)
        sum_beta += to_h * h_before
        if to_x is not None:
            tl.store(to_x + at, to_h, mask=inside)
        h = h_before
    store_sum(to_alpha, sum_alpha)
    if to_beta is not None:
        tl.store(to_beta + n, sum_beta, mask=inside)


# A threshold that adapts.


@kernel
def adaptive_forward(
    x,
    decay_h,
    decay_a,
    out,
    scratch_h,
    scratch_a,
    N,
    v_threshold,
    beta,
    T: tl.constexpr,
    MEMBRANE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Reads x (4), writes out (4), or h and a (8) for backward."""
    n, inside = neurons_of(N, BLOCK)
    of_h = read(decay_h, n, inside)
    of_a = read(decay_a, n, inside)
    h = tl.zeros([BLOCK], tl.float32)
    s = tl.zeros([BLOCK], tl.float32)
    a = tl.zeros([BLOCK], tl.float32) + v_threshold
    for t in tl.range(T, num_stages=STAGES):
        at = place(t, n, N)
        a = of_a * a + (1.0 - of_a) * s
        theta = v_threshold + beta * a
        h = of_h * h + (1.0 - of_h) * read(x, at, inside) - theta * s
        s = fire(h, theta, True)
        if out is not None:
            tl.store(out + at, h if MEMBRANE else s, mask=inside)
        if scratch_h is not None:
            tl.store(scratch_h + at, h, mask=inside)
            tl.store(scratch_a + at, a, mask=inside)


@kernel
def adaptive_backward(
    g,
    x,
    decay_h,
    decay_a,
    scratch_h,
    scratch_a,
    to_x,
    to_decay_h,
    to_decay_a,
    alpha_pointer,
    to_alpha,
    N,
    alpha,
    v_threshold,
    beta,
    T: tl.constexpr,
    MEMBRANE: tl.constexpr,
    CODE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Reads x, writes h and a, reads g, h and a, writes to_x: 28; x once more where decay_h learns."""
    adaptive_forward(x, decay_h, decay_a, None, scratch_h, scratch_a, N, v_threshold, beta, T, MEMBRANE, STAGES, BLOCK)
    tl.debug_barrier()
    n, inside = neurons_of(N, BLOCK)
    of_h = read(decay_h, n, inside)
    of_a = read(decay_a, n, inside)
    width = read_width(alpha_pointer, alpha)
    last = place(T - 1, n, N)
    h = read(scratch_h, last, inside)
    a = read(scratch_a, last, inside)
    from_h = tl.zeros([BLOCK], tl.float32)  # what reaches h[t], a[t] and s[t] from the step after
    from_a = tl.zeros([BLOCK], tl.float32)
    from_s = tl.zeros([BLOCK], tl.float32)
    sum_h = tl.zeros([BLOCK], tl.float32)
    sum_a = tl.zeros([BLOCK], tl.float32)
    sum_alpha = tl.zeros([BLOCK], tl.float32)
    for back in tl.range(T, num_stages=STAGES):
        t = T - 1 - back
        at = place(t, n, N)
        up = read(g, at, inside)
        earlier = inside & (t > 0)
        h_before = read(scratch_h, at - N, earlier)
        a_before = tl.where(t > 0, read(scratch_a, at - N, earlier), v_threshold)
        s_before = tl.where(t > 0, fire(h_before, v_threshold + beta * a_before, True), 0.0)
        theta = v_threshold + beta * a
        u = h - theta
        through = (from_s if MEMBRANE else from_s + up) * derivative(u, width, CODE)
        if to_alpha is not None:
            sum_alpha += of_alpha(u, through, width, CODE)
        to_h = from_h + through
        if MEMBRANE:
            to_h += up
        to_a = from_a - beta * (through + s_before * to_h)
        if to_decay_h is not None:
            sum_h += to_h * (h_before - read(x, at, inside))
        sum_a += to_a * (a_before - s_before)
        if to_x is not None:
            tl.store(to_x + at, (1.0 - of_h) * to_h, mask=inside)
        from_h = of_h * to_h
        from_a = of_a * to_a
        from_s = (1.0 - of_a) * to_a - theta * to_h
        h = h_before
        a = a_before
    store_sum(to_alpha, sum_alpha)
    if to_decay_h is not None:
        tl.store(to_decay_h + n, sum_h, mask=inside)
    if to_decay_a is not None:
        tl.store(to_decay_a + n, sum_a, mask=inside)
