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
    noise_of,
    of_alpha,
    of_draw,
    place,
    read,
    read_width,
    sigmoid,
)

SOFT = tl.constexpr(families.SOFT)
HARD = tl.constexpr(families.HARD)
PSU = tl.constexpr(families.PSU)
IPSU = tl.constexpr(families.IPSU)
RPSU = tl.constexpr(families.RPSU)

# What the linear scan does with its membrane.
OUT_MEMBRANE, OUT_THRESHOLD, OUT_DRAW, OUT_FIRST = (tl.constexpr(i) for i in range(4))


@kernel
def _neurons(N, BLOCK: tl.constexpr):
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    return n, n < N


@kernel
def _store_sum(pointer, each):
    if pointer is not None:
        tl.store(pointer + tl.program_id(0), tl.sum(each, 0))


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
    n, inside = _neurons(N, BLOCK)
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
    n, inside = _neurons(N, BLOCK)
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
    _store_sum(to_alpha, sum_alpha)
    if to_leak is not None:
        if PER_NEURON == 1:
            tl.store(to_leak + n, sum_leak, mask=inside)
        else:
            _store_sum(to_leak, sum_leak)


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
    n, inside = _neurons(N, BLOCK)
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
    n, inside = _neurons(N, BLOCK)
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
    _store_sum(to_alpha, sum_alpha)


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
    n, inside = _neurons(N, BLOCK)
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
    n, inside = _neurons(N, BLOCK)
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
    n, inside = _neurons(N, BLOCK)
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
    _store_sum(to_alpha, sum_alpha)
    if to_beta is not None:
        tl.store(to_beta + n, sum_beta, mask=inside)


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
    n, inside = _neurons(N, BLOCK)
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
    n, inside = _neurons(N, BLOCK)
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
    n, inside = _neurons(N, BLOCK)
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
    n, inside = _neurons(N, BLOCK)
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
    _store_sum(to_alpha, sum_alpha)
    _store_sum(to_threshold, -sum_threshold)


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
    n, inside = _neurons(N, BLOCK)
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
    n, inside = _neurons(N, BLOCK)
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
    _store_sum(to_alpha, sum_alpha)
    if to_decay_h is not None:
        tl.store(to_decay_h + n, sum_h, mask=inside)
    if to_decay_a is not None:
        tl.store(to_decay_a + n, sum_a, mask=inside)


# Few neurons, many steps: w[t] = decay w[t-1] + gain x[t], CHUNK steps at once, so that a step does not wait for the
# one before. h = rest + w.


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
    n, inside = _neurons(N, BLOCK)
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
    n, inside = _neurons(N, BLOCK)
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
    _store_sum(to_alpha, sum_alpha)
    if to_decay is not None:
        tl.store(to_decay + n, sum_decay, mask=inside)
    if to_gain is not None:
        tl.store(to_gain + n, sum_gain, mask=inside)
