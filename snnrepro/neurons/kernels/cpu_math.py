"""What the CPU kernels compute with, a row of neighbouring neurons at a time, so that every loop is a vector loop.

Rows are one-dimensional arrays of one floating-point dtype, and so is every number: a Python number would raise the
arithmetic to float64. A row must not be given twice, nor a loop write to more than two: LLVM then makes no vector loop.
Nor is a slice assigned to: to compile that takes longer than a kernel.
"""

import math
from typing import Any

import numpy as np
from numba import uint32, uint64
from numba.extending import overload

from snnrepro.compiled import FAST, FUSED, compiled
from snnrepro.neurons.kernels.families import ATAN, FAST_SIGMOID, RECTANGLE, SIGMOID, TRIANGLE

Row = np.ndarray[Any, Any]


def exp(x: Any) -> Any:
    """e^x of a number, to the last place or two; unlike the C library's, LLVM can make a vector of it.

    e^x = 2^k e^r with |r| <= ln 2 / 2: k by adding a constant that leaves no room for a fraction, e^r by Taylor's sum,
    2^k by writing k into the exponent. Above the range the result is infinite, below it the smallest normal number.
    """
    raise NotImplementedError


@overload(exp, jit_options={"fastmath": FUSED})
def _(x: Any) -> Any:
    return _exp_32 if x.bitwidth == 32 else _exp_64


def _exp_32(x: Any) -> Any:
    x = np.float32(89.0) if x > np.float32(89.0) else x
    x = np.float32(-87.0) if x < np.float32(-87.0) else x
    magic = np.float32(12582912.0)  # 1.5 * 2^23
    shifted = x * np.float32(1.4426950408889634) + magic
    k = shifted - magic
    r = (x - k * np.float32(0.693359375)) - k * np.float32(-2.12194440054690583e-4)
    p = np.float32(1 / 5040)
    p = p * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(0.5)
    p = p * r + np.float32(1.0)
    p = p * r + np.float32(1.0)
    scale = np.int32((np.float32(shifted).view(np.int32) + np.int32(127)) << np.int32(23)).view(np.float32)
    return p * scale


def _exp_64(x: Any) -> Any:
    x = 710.0 if x > 710.0 else x
    x = -708.0 if x < -708.0 else x
    magic = 6755399441055744.0  # 1.5 * 2^52
    shifted = x * 1.4426950408889634 + magic
    k = shifted - magic
    r = (x - k * 0.693145751953125) - k * 1.42860682030941723212e-6
    p = 1 / 6227020800
    p = p * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    scale = np.int64((np.float64(shifted).view(np.int64) + np.int64(1023)) << np.int64(52)).view(np.float64)
    return p * scale


@compiled(fastmath=FUSED)
def sigmoid_row(x: Row, out: Row) -> None:
    """1 / (1 + e^-x)."""
    one = x.dtype.type(1)
    for n in range(len(out)):
        out[n] = one / (one + exp(-x[n]))


# A loop of its own for every row operation: inside a long kernel LLVM makes fewer of them vector loops.


@compiled
def copy_row(x: Row, out: Row) -> None:
    for n in range(len(out)):
        out[n] = x[n]


@compiled
def fill_row(value: float, out: Row) -> None:
    for n in range(len(out)):
        out[n] = value


@compiled
def add_row(x: Row, to: Row) -> None:
    for n in range(len(to)):
        to[n] += x[n]


@compiled
def multiply_row(x: Row, to: Row) -> None:
    for n in range(len(to)):
        to[n] *= x[n]


@compiled
def add_product_row(x: Row, y: Row, to: Row) -> None:
    for n in range(len(to)):
        to[n] += x[n] * y[n]


@compiled
def scale_row(x: Row, factor: float, out: Row) -> None:
    for n in range(len(out)):
        out[n] = x[n] * factor


@compiled
def above_row(x: Row, level: float, out: Row) -> None:
    """x - level."""
    for n in range(len(out)):
        out[n] = x[n] - level


@compiled
def leaky_row(d: Row, x: Row, decay: float) -> None:
    """d = decay (d + x), in place."""
    for n in range(len(x)):
        d[n] = (d[n] + x[n]) * decay


@compiled
def where_row(x: Row, kept: Row, out: Row) -> None:
    """x where kept is above 0, else 0."""
    zero = x.dtype.type(0)
    for n in range(len(out)):
        out[n] = x[n] if kept[n] > zero else zero


@compiled
def fire_row(h: Row, v_threshold: float, strict: bool, spikes: Row) -> None:
    """1 where h > v_threshold, or h >= v_threshold where not strict."""
    one, zero = h.dtype.type(1), h.dtype.type(0)
    if strict:
        for n in range(len(spikes)):
            spikes[n] = one if h[n] > v_threshold else zero
    else:
        for n in range(len(spikes)):
            spikes[n] = one if h[n] >= v_threshold else zero


@compiled(fastmath=FUSED)
def derivative_row(code: int, u: Row, alpha: float, out: Row) -> None:
    """g(u) of surrogate.py, alpha of the rows' dtype."""
    one, two, half = u.dtype.type(1), u.dtype.type(2), u.dtype.type(0.5)
    zero = u.dtype.type(0)
    if code == ATAN:
        scale, half_alpha = u.dtype.type(math.pi / 2) * alpha, alpha * half
        for n in range(len(out)):
            scaled = u[n] * scale
            out[n] = half_alpha / (scaled * scaled + one)
    elif code == SIGMOID:
        for n in range(len(out)):
            y = one / (one + exp(-alpha * u[n]))
            out[n] = (one - y) * y * alpha
    elif code == TRIANGLE:
        for n in range(len(out)):
            height = one - abs(u[n]) * alpha
            out[n] = zero if height < zero else height * alpha
    elif code == RECTANGLE:
        for n in range(len(out)):
            out[n] = alpha if abs(alpha * u[n]) < half else zero
    elif code == FAST_SIGMOID:
        for n in range(len(out)):
            root = abs(u[n]) * alpha + one
            out[n] = one / (root * root)
    else:
        half_alpha = alpha / two
        for n in range(len(out)):
            out[n] = half_alpha * exp(-alpha * abs(u[n]))


@compiled(fastmath=FAST)
def alpha_gradient(code: int, u: Row, to_u: Row, alpha: float) -> Any:
    """Sum of to_u (dG/dalpha) / g, where to_u = upstream * g(u)."""
    total = u.dtype.type(0)
    if code == FAST_SIGMOID:
        for n in range(len(u)):
            total -= to_u[n] * u[n] * abs(u[n])
    else:
        for n in range(len(u)):
            total += to_u[n] * u[n]
        total /= alpha
    return total


@compiled(fastmath=FAST)
def row_sum(row: Row) -> Any:
    total = row.dtype.type(0)
    for n in range(len(row)):
        total += row[n]
    return total


@compiled
def _mix_64(z: Any) -> Any:
    z = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB)
    return z ^ (z >> uint64(31))


@compiled
def _mix_32(z: Any) -> Any:
    z = uint32((z ^ (z >> uint32(16))) * uint32(0x7FEB352D))
    z = uint32((z ^ (z >> uint32(15))) * uint32(0x846CA68B))
    return uint32(z ^ (z >> uint32(16)))


@compiled
def uniform_row(key: int, draw: int, step: int, first: int, out: Row) -> None:
    """noise.uniform of one step for the neurons first, first + 1, ...; key and draw as signed 64-bit numbers."""
    scale = out.dtype.type(2**-24)
    of_step = _mix_64(_mix_64(uint64(key) ^ (uint64(draw) << uint64(20))) ^ uint64(step))
    low, high = uint32(of_step & uint64(0xFFFFFFFF)), uint32(of_step >> uint64(32))
    for n in range(len(out)):
        z = _mix_32(uint32(_mix_32(low ^ uint32(first + n)) + high))
        out[n] = out.dtype.type(np.int32((z >> uint32(8)) & uint32(0xFFFFFF))) * scale
