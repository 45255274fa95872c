"""Products over time on CUDA: a T x T weight, or a filter of its last steps; one weight for all neurons.

x, g (upstream gradient), out `[T, N]`. MODE: what is written of a membrane h, see OUT_*. Sums over neurons are partial
sums of each program, so that a result is the same every time. Products are fp32 multiply-adds, not TF32, so that
spikes are those of the reference; an infinite or NaN input reaches what it is multiplied with, also by 0.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# The compiler looks up what a kernel's arguments are annotated with: Any it does not know.

import triton.language as tl  # type: ignore[import-untyped]

from snnrepro.neurons.kernels.triton_math import derivative, fire, kernel, of_alpha, place, read, read_width

# h; spikes of h; g's gradient through the spikes.
OUT_MEMBRANE, OUT_SPIKES, OUT_GRADIENT = (tl.constexpr(i) for i in range(3))


@kernel
def _weights(weight, row, column, T: tl.constexpr, BAND: tl.constexpr):
    """weight[row, column], 0 beyond T and, where there is a BAND, outside of it."""
    there = (row < T) & (column < T)
    if BAND > 0:
        there = there & (row >= column) & (row - column < BAND)
    return read(weight, row * T + column, there)


@kernel
def _meets(row, rows: tl.constexpr, column, columns: tl.constexpr, BAND: tl.constexpr):
    """Whether the tile of weights from (row, column) has any within the BAND."""
    return (row + rows > column) & (row - column - columns + 1 < BAND)


@kernel
def _accumulate(
    h,
    x,
    weight,
    i,
    first,
    n,
    N,
    T: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    BAND: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """h `[ROWS, BLOCK]` + the products with the steps first, first + 1, ..., DEPTH of them."""
    j = first + tl.arange(0, DEPTH)
    if TRANSPOSED:
        tile = _weights(weight, j[None, :], i[:, None], T, BAND)
    else:
        tile = _weights(weight, i[:, None], j[None, :], T, BAND)
    steps = read(x, place(j[:, None], n[None, :], N), (j[:, None] < T) & (n[None, :] < N))
    return tl.dot(tile, steps, h, input_precision="ieee")


@kernel
def product(
    x,
    weight,
    bias,
    g,
    out,
    alpha_pointer,
    to_alpha,
    N,
    v_threshold,
    alpha,
    T: tl.constexpr,
    MODE: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    STRICT: tl.constexpr,
    BAND: tl.constexpr,
    CODE: tl.constexpr,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """h = weight x + bias, or TRANSPOSED weight^T x; a program for ROWS steps of BLOCK neurons.

    Reads x, from the second tile of rows on out of the L2 cache, writes out: 8 bytes an element.
    """
    tiles = (T + ROWS - 1) // ROWS
    row = tl.program_id(0) % tiles * ROWS
    i = row + tl.arange(0, ROWS)
    n = tl.program_id(0) // tiles * BLOCK + tl.arange(0, BLOCK)
    h = tl.zeros([ROWS, BLOCK], tl.float32)
    for first in tl.range(0, T, DEPTH):
        if BAND == 0:
            h = _accumulate(h, x, weight, i, first, n, N, T, TRANSPOSED, BAND, DEPTH)
        else:
            wanted = _meets(first, DEPTH, row, ROWS, BAND) if TRANSPOSED else _meets(row, ROWS, first, DEPTH, BAND)
            if wanted:
                h = _accumulate(h, x, weight, i, first, n, N, T, TRANSPOSED, BAND, DEPTH)
    if bias is not None:
        h += read(bias, i, i < T)[:, None]
    at = place(i[:, None], n[None, :], N)
    there = (i[:, None] < T) & (n[None, :] < N)
    if MODE == OUT_MEMBRANE:
        result = h
    elif MODE == OUT_SPIKES:
        result = fire(h, v_threshold, STRICT)
    else:
        width = read_width(alpha_pointer, alpha)
        u = h - v_threshold
        result = read(g, at, there) * derivative(u, width, CODE)
        if to_alpha is not None:
            tl.store(to_alpha + tl.program_id(0), tl.sum(tl.sum(of_alpha(u, result, width, CODE), 1), 0))
    tl.store(out + at, result, mask=there)


@kernel
def product_short(
    x,
    weight,
    bias,
    out,
    N,
    v_threshold,
    T: tl.constexpr,
    MODE: tl.constexpr,
    STRICT: tl.constexpr,
    BAND: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The same for few steps, all of x in registers: no tile is filled up with zeros. Reads x, writes out: 8."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = n < N
    steps = ()
    for j in tl.static_range(T):
        steps = steps + (read(x, place(j, n, N), inside),)  # type: ignore[assignment]  # noqa: RUF005
    for i in tl.static_range(T):
        h = tl.zeros([BLOCK], tl.float32) + tl.load(bias + i).to(tl.float32)
        for j in tl.static_range(T):
            if BAND == 0 or (i >= j and i - j < BAND):
                h += tl.load(weight + (i * T + j)).to(tl.float32) * steps[j]
        result = h if MODE == OUT_MEMBRANE else fire(h, v_threshold, STRICT)
        tl.store(out + place(i, n, N), result, mask=inside)


@kernel
def product_backward(
    g,
    x,
    weight,
    bias,
    to_x,
    to_weight,
    to_bias,
    alpha_pointer,
    to_alpha,
    N,
    programs,
    v_threshold,
    alpha,
    T: tl.constexpr,
    MODE: tl.constexpr,
    BAND: tl.constexpr,
    CODE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Everything at once where T <= ROWS; each of the programs takes every so-manieth block of neurons.

    to_weight `[programs, T, T]`, to_bias `[programs, T]`. Reads g and x, writes to_x: 12 bytes an element.
    """
    i = tl.arange(0, ROWS)
    j = tl.arange(0, ROWS)
    tile = _weights(weight, i[:, None], j[None, :], T, BAND)
    turned = _weights(weight, j[None, :], i[:, None], T, BAND)
    shift = read(bias, i, i < T)[:, None] - v_threshold
    width = read_width(alpha_pointer, alpha)
    sum_weight = tl.zeros([ROWS, ROWS], tl.float32)
    sum_bias = tl.zeros([ROWS], tl.float32)
    sum_alpha = tl.zeros([ROWS], tl.float32)
    start = tl.program_id(0) * BLOCK
    while start < N:
        n = start + tl.arange(0, BLOCK)
        at = place(i[:, None], n[None, :], N)
        there = (i[:, None] < T) & (n[None, :] < N)
        steps = read(x, at, there)
        to_h = read(g, at, there)
        if MODE != OUT_MEMBRANE:
            u = tl.dot(tile, steps, input_precision="ieee") + shift
            to_h *= derivative(u, width, CODE)
            if to_alpha is not None:
                sum_alpha += tl.sum(of_alpha(u, to_h, width, CODE), 1)
        if to_weight is not None:
            sum_weight = tl.dot(to_h, tl.trans(steps), sum_weight, input_precision="ieee")
        sum_bias += tl.sum(to_h, 1)
        if to_x is not None:
            tl.store(to_x + at, tl.dot(turned, to_h, input_precision="ieee"), mask=there)
        start += programs * BLOCK
    if to_alpha is not None:
        tl.store(to_alpha + tl.program_id(0), tl.sum(sum_alpha, 0))
    if to_bias is not None:
        tl.store(to_bias + tl.program_id(0) * T + i, sum_bias, mask=i < T)
    if to_weight is not None:
        at = tl.program_id(0) * T * T + i[:, None] * T + j[None, :]
        if BAND > 0:
            sum_weight = tl.where((i[:, None] >= j[None, :]) & (i[:, None] - j[None, :] < BAND), sum_weight, 0.0)
        tl.store(to_weight + at, sum_weight, mask=(i[:, None] < T) & (j[None, :] < T))


@kernel
def product_weight(
    q,
    x,
    to_weight,
    to_bias,
    N,
    programs,
    T: tl.constexpr,
    BAND: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sums over neurons of q x^T and q, a program for each share of the neurons and tile of weights; q as to_h above.

    to_weight `[programs, T, T]`, to_bias `[programs, T]`. Reads q and x: 8, for more tiles than one mostly from L2.
    """
    tiles = (T + ROWS - 1) // ROWS
    share = tl.program_id(0) // (tiles * tiles)
    row = tl.program_id(0) // tiles % tiles * ROWS
    column = tl.program_id(0) % tiles * ROWS
    i = row + tl.arange(0, ROWS)
    j = column + tl.arange(0, ROWS)
    sum_weight = tl.zeros([ROWS, ROWS], tl.float32)
    sum_bias = tl.zeros([ROWS], tl.float32)
    start = share * BLOCK
    if BAND > 0 and to_bias is None:
        start = tl.where(_meets(row, ROWS, column, ROWS, BAND), start, N)
    elif BAND > 0:
        start = tl.where(_meets(row, ROWS, column, ROWS, BAND) | (column == 0), start, N)
    while start < N:
        n = start + tl.arange(0, BLOCK)
        to_h = read(q, place(i[:, None], n[None, :], N), (i[:, None] < T) & (n[None, :] < N))
        steps = read(x, place(j[:, None], n[None, :], N), (j[:, None] < T) & (n[None, :] < N))
        sum_weight = tl.dot(to_h, tl.trans(steps), sum_weight, input_precision="ieee")
        sum_bias += tl.sum(to_h, 1)
        start += programs * BLOCK
    if BAND > 0:
        sum_weight = tl.where((i[:, None] >= j[None, :]) & (i[:, None] - j[None, :] < BAND), sum_weight, 0.0)
    at = share * T * T + i[:, None] * T + j[None, :]
    tl.store(to_weight + at, sum_weight, mask=(i[:, None] < T) & (j[None, :] < T))
    if to_bias is not None:
        tl.store(to_bias + share * T + i, sum_bias, mask=(i < T) & (column == 0))


@kernel
def filter_steps(
    x,
    weight,
    bias,
    g,
    out,
    alpha_pointer,
    to_alpha,
    N,
    alpha,
    T: tl.constexpr,
    K: tl.constexpr,
    LAGS: tl.constexpr,
    MODE: tl.constexpr,
    LATER: tl.constexpr,
    CODE: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """h[t] = sum over lag < LAGS = min(K, T) of weight[K-1-lag] x[t-lag], x[t+lag] where LATER, + bias.

    A program for STEPS steps of BLOCK neurons. Reads x, for the lags from the caches, writes out: 8 bytes an element.
    """
    parts = (T + STEPS - 1) // STEPS
    part = tl.program_id(0) % parts * STEPS
    n = tl.program_id(0) // parts * BLOCK + tl.arange(0, BLOCK)
    inside = n < N
    width = read_width(alpha_pointer, alpha)
    sum_alpha = tl.zeros([BLOCK], tl.float32)
    for step in tl.range(STEPS):
        t = part + step
        there = inside & (t < T)
        h = tl.zeros([BLOCK], tl.float32)
        if bias is not None:
            h += tl.load(bias).to(tl.float32)
        for lag in tl.range(LAGS):
            other = t + lag if LATER else t - lag
            near = read(x, place(other, n, N), there & (other >= 0) & (other < T))
            h += tl.load(weight + (K - 1 - lag)).to(tl.float32) * near
        at = place(t, n, N)
        if MODE == OUT_MEMBRANE:
            result = h
        elif MODE == OUT_SPIKES:
            result = fire(h, 0.0, False)
        else:
            result = read(g, at, there) * derivative(h, width, CODE)
            if to_alpha is not None:
                sum_alpha += of_alpha(h, result, width, CODE)
        tl.store(out + at, result, mask=there)
    if to_alpha is not None:
        tl.store(to_alpha + tl.program_id(0), tl.sum(sum_alpha, 0))


@kernel
def filter_weight(
    q,
    x,
    to_weight,
    N,
    T: tl.constexpr,
    K: tl.constexpr,
    LAGS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """to_weight `[programs, K]`: sums of q[t] x[t-lag], a program for each lag of BLOCK neurons; those of one block run
    side by side. Reads q and x: 8 bytes an element, from the second lag on from L2.
    """
    lag = tl.program_id(0) % LAGS
    block = tl.program_id(0) // LAGS
    n = block * BLOCK + tl.arange(0, BLOCK)
    inside = n < N
    total = tl.zeros([BLOCK], tl.float32)
    for t in tl.range(T):
        there = inside & (t >= lag)
        at = place(t, n, N)
        total += read(q, at, there) * read(x, place(t - lag, n, N), there)
    tl.store(to_weight + block * K + (K - 1 - lag), tl.sum(total, 0))
