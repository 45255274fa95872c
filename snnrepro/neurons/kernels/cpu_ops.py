"""The families of families.py on the CPU: tensors to arrays, work to threads, sums back to tensors."""

import ctypes
import mmap
import sys
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import config, set_num_threads
from torch import Tensor

from snnrepro.neurons.kernels import cpu_draws, cpu_mix, cpu_scan
from snnrepro.neurons.kernels import cpu_threads as threads
from snnrepro.neurons.kernels.cpu_mix import TILE
from snnrepro.neurons.kernels.families import (
    IPSU,
    PSU,
    Adaptive,
    Drawn,
    Estimated,
    Filter,
    FirstCrossing,
    Gradients,
    Guessed,
    Product,
    Resetting,
    Tensors,
)

Array = np.ndarray[Any, Any]
_KERNELS = vars(cpu_scan) | vars(cpu_draws) | vars(cpu_mix)
# Values of scratch that a thread's block may take: half of a typical 1 MiB second-level cache in fp32.
SCRATCH = 2**17
# Neurons of a block: above 1024 their rows leave the first-level cache; below 512, however long the sequence, rows are
# too short for the memory, and a scratch outside of the second-level cache is the lesser evil.
NARROWEST, WIDEST = 512, 1024
# Of a sum over neurons: so many parts at most, each of so many neurons at least.
MOST_SHARES, LEAST_SHARE = 8, 128
# Values, at a fifth of a nanosecond each, below which one thread is done before a sleeping second one has begun.
SERIAL = 2**17
# Long products over few neurons are the library's: a block of them is too narrow for ours.
LONG_PRODUCT, FEW = 128, 1024
# Larger outputs are memory that the C library takes from the system each time, and gives back.
LARGE = 2**25
PAGE, HUGE_PAGES = mmap.PAGESIZE, 14  # Linux's MADV_HUGEPAGE
# Longer products keep h for backward: to store and load it costs less than to multiply again.
KEEP_ABOVE = 32


def _madvise() -> Any:
    """The C library's madvise; None where there is none that knows large pages."""
    if sys.platform != "linux":
        return None
    found = ctypes.CDLL(None).madvise
    found.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return found


_advise = _madvise()


def _array(x: Tensor) -> Array:
    found: Array = x.detach().numpy() if x.requires_grad else x.numpy()
    return found


def _new(like: Tensor) -> Tensor:
    """An output like a tensor, on pages of 2 MiB where it is large: half of the time went into faults of small ones."""
    out = torch.empty_like(like)
    if _advise is not None and out.nbytes >= LARGE:
        start = -(-out.data_ptr() // PAGE) * PAGE
        _advise(start, (out.data_ptr() + out.nbytes - start) // PAGE * PAGE, HUGE_PAGES)
    return out


@cache
def _empty(dtype: torch.dtype, dimensions: int) -> Array:
    return _array(torch.empty((0,) * dimensions, dtype=dtype))


def _number(x: Tensor) -> Any:
    """The type of the numbers that go with x."""
    return np.float32 if x.dtype is torch.float32 else np.float64


class _Shares(NamedTuple):
    """How N neurons are shared out: to `chunks` threads, `width` at a time."""

    chunks: int
    size: int
    width: int

    def sums(self, like: Tensor, *shape: int) -> Array:
        """Where the threads add up, each its own: `[chunks, *shape]`."""
        return np.zeros((self.chunks, *shape), _number(like))

    def total(self, sums: Array) -> Tensor:
        """`[chunks, *]` -> `[*]`."""
        return torch.from_numpy(sums[0] if self.chunks == 1 else sums.sum(0))

    def run(self, name: str, sums: list[Array], *given: Any) -> None:
        """A kernel, with its sums and what comes after them. One thread needs no parallel loop."""
        if self.chunks == 1:
            _KERNELS[name](0, self.size, self.width, *[part[0] for part in sums], *given)
        else:
            getattr(threads, name)(*self, *sums, *given)


_asked = 0


def _workers(asked: int) -> int:
    """How many threads there are for so many asked for."""
    global _asked
    workers = min(asked, int(config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    if asked != _asked:
        set_num_threads(workers)
        torch.set_num_threads(asked)  # numba, when it starts its threads, changes that: OpenMP is one for both
        _asked = asked
    return workers


def _shares(x: Tensor, widest: int, work: int = 1, summed: bool = False) -> _Shares:
    """For x `[T, N]` in blocks of at most `widest`; work: for one value, in that of a few additions.

    summed: in shares that do not depend on the number of threads, so that the sums do not either.
    """
    steps, size = x.shape
    if steps * size * work < SERIAL:
        shares = 1
    else:
        workers = _workers(torch.get_num_threads())
        shares = max(1, min(MOST_SHARES, size // LEAST_SHARE)) if summed else workers
    width = max(16, min(widest, -(-size // shares) + 15 & ~15))  # whole vectors
    return _Shares(min(shares, -(-size // width)), size, width)


def _scanned(x: Tensor, rows: int = 0, summed: bool = False) -> _Shares:
    """The same for a loop over time that keeps `rows` rows a step in a scratch."""
    widest = max(NARROWEST, min(WIDEST, SCRATCH // (x.shape[0] * rows)) & ~15) if rows else WIDEST
    return _shares(x, widest, summed=summed)


def _row(x: Tensor) -> Array:
    """A tensor `[]` or `[N]` as an array of one dimension."""
    return _array(x).reshape(-1)


def _each(parameter: Tensor, x: Tensor) -> Array:
    """A value for each of the neurons of x `[T, N]`, also where there is one for all."""
    row = _row(parameter)
    return row if len(row) == x.shape[1] else np.full(x.shape[1], row[0])


def _alpha(tensors: Tensors, learned: bool, s: Any, f: Any) -> Any:
    return f(tensors[-1].item()) if learned else f(s.alpha)


def resetting_forward(tensors: Tensors, s: Resetting) -> Tensors:
    x, leak, *_ = tensors
    f, out = _number(x), _new(x)
    if x.numel():
        _scanned(x).run(
            "resetting_forward", [], _array(out), _array(x), _row(leak), s.membrane, f(s.v_threshold), s.strict,
            s.reset, f(s.rest), f(s.v_reset), s.decay_input,
        )  # fmt: skip
    return [out]


def resetting_backward(grads: Tensors, tensors: Tensors, s: Resetting, needs: list[bool]) -> Gradients:
    (g,), (x, leak, *alpha) = grads, tensors
    f, to_x = _number(x), _new(x)
    to_leak = torch.zeros(x.shape[1] if needs[1] else 0, dtype=x.dtype)
    shares = _scanned(x, 1, summed=True)
    sums = shares.sums(x, 2)
    if x.numel():
        shares.run(
            "resetting_backward", [sums], _array(g), _array(to_x), _array(to_leak), _array(x), _row(leak), s.membrane,
            s.surrogate, _alpha(tensors, bool(alpha), s, f), f(s.v_threshold), s.strict, s.reset, f(s.rest),
            f(s.v_reset), s.detach, s.decay_input, needs[1], bool(alpha) and needs[2],
        )  # fmt: skip
    if leak.numel() != x.shape[1]:
        to_leak = torch.tensor(to_leak.numpy().sum())  # torch's sum depends on the number of threads
    return [to_x, to_leak if needs[1] else None, *([shares.total(sums)[0]] if alpha else [])]


def _estimated(tensors: Tensors, s: Estimated) -> tuple[Tensor | None, Tensor | None, Tensors]:
    """x, m and the rest."""
    if s.kind == PSU:
        return tensors[0], None, tensors[1:]
    return (None, tensors[0], tensors[1:]) if s.kind == IPSU else (tensors[0], tensors[1], tensors[2:])


def _or_empty(x: Tensor | None, like: Tensor) -> Array:
    return _empty(like.dtype, like.ndim) if x is None else _array(x)


def estimated_forward(tensors: Tensors, s: Estimated) -> Tensors:
    x, m, _ = _estimated(tensors, s)
    like = tensors[0]
    f, out = _number(like), _new(like)
    if like.numel():
        _scanned(like).run(
            "estimated_forward", [], _array(out), _or_empty(x, like), _or_empty(m, like), s.membrane, f(s.v_threshold),
            s.kind, f(s.decay), f(s.drop),
        )  # fmt: skip
    return [out]


def estimated_backward(grads: Tensors, tensors: Tensors, s: Estimated, needs: list[bool]) -> Gradients:
    (g,), (x, m, alpha) = grads, _estimated(tensors, s)
    like = tensors[0]
    f, shares = _number(like), _scanned(like, 2, summed=True)
    to_x, to_m = (None if part is None else _new(part) for part in (x, m))
    sums = shares.sums(like, 2)
    if like.numel():
        shares.run(
            "estimated_backward", [sums], _array(g), _or_empty(to_x, like), _or_empty(to_m, like), _or_empty(x, like),
            _or_empty(m, like), s.membrane, s.surrogate, _alpha(tensors, bool(alpha), s, f), f(s.v_threshold), s.kind,
            f(s.decay), f(s.drop), bool(alpha) and needs[-1] and not s.membrane,
        )  # fmt: skip
    return [*(part for part in (to_x, to_m) if part is not None), *([shares.total(sums)[0]] if alpha else [])]


def first_crossing_forward(tensors: Tensors, s: FirstCrossing) -> Tensors:
    x, beta, *_ = tensors
    f, out = _number(x), _new(x)
    if x.numel():
        _scanned(x).run("first_crossing_forward", [], _array(out), _array(x), _row(beta), s.membrane, f(s.v_threshold))
    return [out]


def first_crossing_backward(grads: Tensors, tensors: Tensors, s: FirstCrossing, needs: list[bool]) -> Gradients:
    (g,), (x, beta, *alpha) = grads, tensors
    f, to_x, shares = _number(x), _new(x), _scanned(x, 1, summed=True)
    to_beta = torch.zeros(x.shape[1] if needs[1] else 0, dtype=x.dtype)
    sums = shares.sums(x, 2)
    if x.numel():
        shares.run(
            "first_crossing_backward", [sums], _array(g), _array(to_x), _array(to_beta), _array(x), _row(beta),
            s.membrane, s.surrogate, _alpha(tensors, bool(alpha), s, f), f(s.v_threshold), s.only_before, needs[1],
            bool(alpha) and needs[2] and not s.membrane,
        )  # fmt: skip
    return [to_x, to_beta if needs[1] else None, *([shares.total(sums)[0]] if alpha else [])]


def _noise(tensors: Tensors, given: bool) -> tuple[Array, int, int, Tensors]:
    """noise, key, draw and the rest."""
    if given:
        return _array(tensors[0]), 0, 0, tensors[1:]
    return np.empty((0, 0), np.float32), int(tensors[0]), int(tensors[1]), tensors[2:]


def drawn_forward(tensors: Tensors, s: Drawn) -> Tensors:
    x, out = tensors[0], _new(tensors[0])
    noise, key, draw, _ = _noise(tensors[1:], s.given)
    if x.numel():
        _scanned(x).run(
            "drawn_forward", [], _array(out), _array(x), noise, key, draw, s.membrane, s.given, _number(x)(s.decay)
        )
    return [out]


def drawn_backward(grads: Tensors, tensors: Tensors, s: Drawn, needs: list[bool]) -> Gradients:
    x, to_x = tensors[0], _new(tensors[0])
    if x.numel():
        _scanned(x, 1).run(
            "drawn_backward", [], _array(grads[0]), _array(to_x), _array(x), s.membrane, _number(x)(s.decay), s.gradient
        )
    return [to_x, *(None for _ in tensors[1:])]


def guessed_forward(tensors: Tensors, s: Guessed) -> Tensors:
    x, v_threshold, *rest = tensors
    noise, key, draw, _ = _noise(rest, s.given)
    f, out, shares = _number(x), _new(x), _scanned(x, summed=True)
    errors = shares.sums(x, (x.shape[0] - s.current) * s.errors)
    if x.numel():
        shares.run(
            "guessed_forward", [errors], _array(out), _array(x), f(v_threshold.item()), noise, key, draw, s.membrane,
            s.given, s.current, f(s.beta), s.errors,
        )  # fmt: skip
    return [out, shares.total(errors)]


def guessed_backward(grads: Tensors, tensors: Tensors, s: Guessed, needs: list[bool]) -> Gradients:
    (g, to_e), (x, v_threshold, *rest) = grads, tensors
    noise, key, draw, alpha = _noise(rest, s.given)
    f, to_x, shares = _number(x), _new(x), _scanned(x, 1, summed=True)
    sums = shares.sums(x, 2)
    if x.numel():
        shares.run(
            "guessed_backward", [sums], _array(g), _array(to_e.to(x.dtype)), _array(to_x), _array(x),
            f(v_threshold.item()), noise, key, draw, s.membrane, s.surrogate, _alpha(tensors, bool(alpha), s, f),
            s.given, s.current, f(s.beta), s.errors, bool(alpha) and needs[-1] and not s.membrane,
        )  # fmt: skip
    to_alpha, to_threshold = shares.total(sums)
    return [to_x, to_threshold, *(None for _ in range(len(rest) - len(alpha))), *([to_alpha] if alpha else [])]


def adaptive_forward(tensors: Tensors, s: Adaptive) -> Tensors:
    x, decay_h, decay_a, *_ = tensors
    f, out = _number(x), _new(x)
    if x.numel():
        _scanned(x).run(
            "adaptive_forward",
            [],
            _array(out),
            _array(x),
            _each(decay_h, x),
            _each(decay_a, x),
            s.membrane,
            f(s.v_threshold),
            f(s.beta),
        )
    return [out]


def adaptive_backward(grads: Tensors, tensors: Tensors, s: Adaptive, needs: list[bool]) -> Gradients:
    (g,), (x, decay_h, decay_a, *alpha) = grads, tensors
    f, to_x, shares = _number(x), _new(x), _scanned(x, 2, summed=True)
    to_h, to_a = torch.zeros(2, x.shape[1], dtype=x.dtype)
    sums = shares.sums(x, 2)
    if x.numel():
        shares.run(
            "adaptive_backward", [sums], _array(g), _array(to_x), _array(to_h), _array(to_a), _array(x), _each(decay_h,
            x), _each(decay_a, x), s.membrane, s.surrogate, _alpha(tensors, bool(alpha), s, f), f(s.v_threshold),
            f(s.beta), bool(alpha) and needs[3],
        )  # fmt: skip
    return [to_x, to_h, to_a, *([shares.total(sums)[0]] if alpha else [])]


def _tiled(x: Array, *sizes: int) -> Array:
    """x with zeros after it up to whole tiles in every dimension."""
    if not sizes[0] % TILE:  # all sizes are alike
        return np.ascontiguousarray(x)
    padded = np.zeros([-(-size // TILE) * TILE for size in sizes], x.dtype)
    padded[tuple(slice(size) for size in sizes)] = x
    return padded


def _multiplied(x: Tensor, rows: int) -> _Shares:
    """The shares of a product over time that keeps `rows` blocks of `[T, width]`."""
    return _shares(x, max(128, min(2**11, 2**18 // (x.shape[0] * rows)) & ~15), max(1, x.shape[0] // 16), rows > 1)


def _is_the_librarys(x: Tensor, s: Product) -> bool:
    return x.shape[0] >= LONG_PRODUCT and x.shape[1] < FEW and not s.band


def _library_forward(x: Tensor, weight: Tensor, bias: Tensor, s: Product) -> Tensors:
    h = torch.addmm(bias[:, None], weight, x)
    if s.membrane or not x.numel():
        return [h]
    out = _new(x)
    _scanned(x).run("fire_forward", [], _array(out), _array(h), _number(x)(s.v_threshold), s.strict)
    return [out, h] if s.keep else [out]


def _library_backward(
    g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, h: Tensor | None, alpha: Tensors, s: Product, needs: list[bool]
) -> Gradients:
    shares = _scanned(x, summed=True)
    sums, f, to_h = shares.sums(x, 2), _number(x), g
    if not s.membrane:
        to_h, h = _new(x), torch.addmm(bias[:, None], weight, x) if h is None else h
        if x.numel():
            shares.run(
                "fire_backward", [sums], _array(to_h), _array(g), _array(h), s.surrogate, _alpha(alpha, bool(alpha), s,
                f), f(s.v_threshold), bool(alpha) and needs[3],
            )  # fmt: skip
    to_x, to_weight = weight.T @ to_h if needs[0] else None, to_h @ x.T if needs[1] else None
    return [to_x, to_weight, to_h.sum(1), *([shares.total(sums)[0]] if alpha else [])]


def product_forward(tensors: Tensors, s: Product) -> Tensors:
    x, weight, bias, *_ = tensors
    if _is_the_librarys(x, s):
        return _library_forward(x, weight.detach(), bias.detach(), s)
    T, f, out = x.shape[0], _number(x), _new(x)
    kept = [_new(x)] if s.keep and not s.membrane and T > KEEP_ABOVE else []
    if x.numel():
        _multiplied(x, 1).run(
            "product_forward", [], _array(out), _or_empty(kept[0] if kept else None, x), _array(x),
            _tiled(_array(weight), T, T), _tiled(_array(bias), T), s.membrane, f(s.v_threshold), s.strict, s.band,
        )  # fmt: skip
    return [out, *kept]


def product_backward(grads: Tensors, tensors: Tensors, s: Product, needs: list[bool]) -> Gradients:
    (g,), (x, weight, bias, *rest) = grads, tensors
    kept, alpha = (rest[-1], rest[:-1]) if rest and rest[-1].shape == x.shape else (None, rest)
    if _is_the_librarys(x, s):
        return _library_backward(g, x, weight.detach(), bias.detach(), kept, alpha, s, needs)
    T, f, shares = x.shape[0], _number(x), _multiplied(x, 2)
    tiled = _tiled(_array(weight), T, T)
    to_x = _new(x) if needs[0] else None
    to_weight = shares.sums(x, *(tiled.shape if needs[1] else (0, 0)))
    to_bias, sums = shares.sums(x, len(tiled)), shares.sums(x, 2)
    if x.numel():
        shares.run(
            "product_backward", [sums, to_weight, to_bias], _array(g), _or_empty(to_x, x), _or_empty(kept, x),
            _array(x), tiled, np.ascontiguousarray(tiled.T), _tiled(_array(bias), T), s.membrane, s.surrogate,
            _alpha(alpha, bool(alpha), s, f), f(s.v_threshold), s.band, bool(alpha) and needs[3] and not s.membrane,
        )  # fmt: skip
    of_weight = shares.total(to_weight)[:T, :T] if needs[1] else None
    return [to_x, of_weight, shares.total(to_bias)[:T], *([shares.total(sums)[0]] if alpha else [])]


@cache
def _strip_index(order: int, reach: int) -> tuple[Tensor, Tensor]:
    """Where in a kernel `[k]` each weight of its strip `[4, reach + 4]` is found, and whether there is one."""
    lag = reach + torch.arange(TILE)[:, None] - torch.arange(reach + TILE)[None, :]
    return (order - 1 - lag).clamp(0, order - 1), (lag >= 0) & (lag < order)


def _strip(weight: Tensor) -> Tensor:
    index, inside = _strip_index(len(weight), -(-(len(weight) - 1) // TILE) * TILE)
    return weight.detach()[index] * inside


def _filtered(x: Tensor, order: int, rows: int) -> _Shares:
    return _shares(
        x, max(NARROWEST, min(2**11, 2**18 // ((x.shape[0] + order) * rows)) & ~15), order // 16 + 1, rows > 1
    )


def filter_forward(tensors: Tensors, s: Filter) -> Tensors:
    x, weight, bias, *_ = tensors
    out = _new(x)
    if x.numel():
        _filtered(x, len(weight), 1).run(
            "filter_forward", [], _array(out), _array(x), _array(_strip(weight)), _number(x)(bias.item()), s.membrane,
        )  # fmt: skip
    return [out]


def filter_backward(grads: Tensors, tensors: Tensors, s: Filter, needs: list[bool]) -> Gradients:
    (g,), (x, weight, bias, *alpha) = grads, tensors
    f, shares, strip = _number(x), _filtered(x, len(weight), 2), _strip(weight)
    to_x = _new(x) if needs[0] else None
    to_strip, sums = shares.sums(x, *(strip.shape if needs[1] else (0, 0))), shares.sums(x, 2)
    if x.numel():
        shares.run(
            "filter_backward", [sums, to_strip], _array(g), _or_empty(to_x, x), _array(x), _array(strip),
            _array(strip.flip(0, 1).contiguous()), f(bias.item()), s.membrane, s.surrogate, _alpha(tensors,
            bool(alpha), s, f), bool(alpha) and needs[3] and not s.membrane,
        )  # fmt: skip
    to_weight = None
    if needs[1]:
        index, inside = _strip_index(len(weight), strip.shape[1] - TILE)
        to_weight = torch.zeros_like(weight).index_add_(0, index[inside], shares.total(to_strip)[inside])
    to_alpha, to_bias = shares.total(sums)
    return [to_x, to_weight, to_bias, *([to_alpha] if alpha else [])]
