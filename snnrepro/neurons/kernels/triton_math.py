"""What the CUDA kernels compute with: fp32 values of a block of neurons, one program's registers.

Arguments in capitals are known when a kernel is compiled. A neuron beyond the last reads 0 and writes nothing.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# The compiler looks up what a kernel's arguments are annotated with: Any it does not know.

import math
from collections.abc import Callable
from typing import Any

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

from snnrepro.neurons.kernels import families

# With a type, which triton's own lacks.
kernel: Callable[[Callable[..., Any]], Any] = triton.jit

ATAN = tl.constexpr(families.ATAN)
SIGMOID = tl.constexpr(families.SIGMOID)
TRIANGLE = tl.constexpr(families.TRIANGLE)
RECTANGLE = tl.constexpr(families.RECTANGLE)
FAST_SIGMOID = tl.constexpr(families.FAST_SIGMOID)
HALF_PI = tl.constexpr(math.pi / 2)
UNIT = tl.constexpr(2.0**-24)


@kernel
def place(t, n, N):
    """Where step t of neuron n lies in `[T, N]`; in 64 bits, as T N may not fit 32."""
    return tl.cast(t, tl.int64) * N + n


@kernel
def read(pointer, at, inside):
    """Values of any dtype as fp32."""
    return tl.load(pointer + at, mask=inside, other=0.0).to(tl.float32)


@kernel
def read_width(alpha_pointer, alpha):
    """The surrogate's alpha: what the pointer holds, where there is one."""
    return alpha if alpha_pointer is None else tl.load(alpha_pointer).to(tl.float32)


@kernel
def sigmoid(x):
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + tl.exp(-x))


@kernel
def fire(h, threshold, STRICT: tl.constexpr):
    """1.0 where h > threshold, or h >= threshold where not STRICT; NaN gives 0.0."""
    return tl.where(h > threshold, 1.0, 0.0) if STRICT else tl.where(h >= threshold, 1.0, 0.0)


@kernel
def derivative(u, alpha, CODE: tl.constexpr):
    """g(u) of surrogate.py."""
    if CODE == ATAN:
        scaled = u * (alpha * HALF_PI)
        result = (alpha * 0.5) / (scaled * scaled + 1.0)
    elif CODE == SIGMOID:
        y = sigmoid(alpha * u)
        result = (1.0 - y) * y * alpha
    elif CODE == TRIANGLE:
        height = 1.0 - tl.abs(u) * alpha
        result = tl.where(height < 0.0, 0.0, height) * alpha
    elif CODE == RECTANGLE:
        result = tl.where(tl.abs(alpha * u) < 0.5, 1.0, 0.0) * alpha
    elif CODE == FAST_SIGMOID:
        root = tl.abs(u) * alpha + 1.0
        result = 1.0 / (root * root)
    else:
        result = tl.exp(-alpha * tl.abs(u)) * (alpha * 0.5)
    return result


@kernel
def of_alpha(u, to_u, alpha, CODE: tl.constexpr):
    """Each neuron's share of alpha's gradient, to_u (dG/dalpha) / g, where to_u = upstream * g(u)."""
    return -to_u * u * tl.abs(u) if CODE == FAST_SIGMOID else to_u * u / alpha


@kernel
def _mix_64(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return z ^ (z >> 31)


@kernel
def _mix_32(z):
    z = (z ^ (z >> 16)) * 0x7FEB352D
    z = (z ^ (z >> 15)) * 0x846CA68B
    return z ^ (z >> 16)


@kernel
def of_draw(noise, key, draw):
    """What key and draw (int64 in memory) come to in every number of `uniform`; 0 where the noise is given."""
    if noise is None:
        key_bits = tl.load(key).to(tl.uint64, bitcast=True)
        draw_bits = tl.load(draw).to(tl.uint64, bitcast=True)
        hashed = _mix_64(key_bits ^ (draw_bits << 20))
    else:
        hashed = tl.cast(0, tl.uint64)
    return hashed


@kernel
def uniform(hashed, t, n):
    """noise.uniform at step t for neuron n, to the bit."""
    of_step = _mix_64(hashed ^ tl.cast(t, tl.uint64))
    low = of_step.to(tl.uint32)
    high = (of_step >> 32).to(tl.uint32)
    z = _mix_32(_mix_32(low ^ n.to(tl.uint32)) + high)
    return (z >> 8).to(tl.float32) * UNIT


@kernel
def noise_of(noise, hashed, t, n, at, inside):
    """Read where `noise` is given, else computed: nothing is moved for it."""
    return uniform(hashed, t, n) if noise is None else read(noise, at, inside)


@kernel
def neurons_of(N, BLOCK: tl.constexpr):
    """The program's neurons, and which of them there are."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    return n, n < N


@kernel
def store_sum(pointer, each):
    """The program's own sum, if it is wanted."""
    if pointer is not None:
        tl.store(pointer + tl.program_id(0), tl.sum(each, 0))
