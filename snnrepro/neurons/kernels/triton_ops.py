"""The families of families.py on CUDA: allocates, chooses the sizes of blocks, launches; never waits for the device."""

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnrepro.neurons.kernels import triton_chunks as chunks
from snnrepro.neurons.kernels import triton_draws as draws
from snnrepro.neurons.kernels import triton_mix as mix
from snnrepro.neurons.kernels import triton_scan as scan
from snnrepro.neurons.kernels.families import (
    IPSU,
    NO_GRADIENT,
    NONE,
    PSU,
    SIGMOID_GRADIENT,
    STRAIGHT_THROUGH,
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

# A linear scan of at least so many steps and fewer neurons than these goes by chunks of steps: one step after the
# other, so few neurons would leave most of the device idle.
LONG = 512
NARROW = 2**13
CHUNK = 64
# Products of at most so many steps keep all of them in registers forward, and do backward at once.
SHORT = 16
AT_ONCE = 16
# How many programs share out the neurons where each has sums as large as the weight: four for each of 132 processors.
SHARES = 528


class Launch(NamedTuple):
    """Neurons of a program, its warps, the steps that it fetches ahead, and how many programs there are."""

    block: int
    warps: int
    stages: int
    programs: int


def _launch(x: Tensor) -> Launch:
    """Many neurons: 4 a thread, so that a warp reads 256 or 512 bytes at once. Few: 4 bytes a thread, the least that
    is fetched ahead, so one or two neurons.
    """
    size, few = x.shape[1], 2 if x.element_size() == 2 else 1
    if size >= 2**19:
        block, warps, stages = 512, 4, 1
    else:
        block, warps, stages = (128 * few, 4, 6) if size >= 2**14 else (32 * few, 1, 8)
    return Launch(block, warps, stages, -(-size // block))


def _run(kernel: Any, programs: int, *arguments: Any, warps: int = 4, **constants: Any) -> None:
    """Launch on the device of the first argument; a parameter may come as an expanded view."""
    dense = (one.contiguous() if isinstance(one, Tensor) else one for one in arguments)
    first = next(one for one in arguments if isinstance(one, Tensor))
    with torch.cuda.device(first.device) if first.is_cuda else nullcontext():
        kernel[(programs,)](*dense, num_warps=warps, **constants)


def _empty(like: Tensor, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=like.device)


def _like(x: Tensor, needed: bool = True) -> Tensor | None:
    return torch.empty_like(x) if needed else None


def _scratch(x: Tensor, to_x: Tensor | None) -> Tensor:
    """fp32 `[T, N]`, in the place of the gradient where that will do."""
    return to_x if to_x is not None and to_x.dtype == torch.float32 else _empty(x, *x.shape)


def _alpha(tensors: Tensors, fixed: int) -> Tensor | None:
    """The learned width: the last tensor, if there are more than the `fixed` ones."""
    return tensors[fixed] if len(tensors) > fixed else None


def _partial(needs: list[bool], fixed: int, like: Tensor, programs: int) -> Tensor | None:
    """A sum over each program's neurons for the learned width's gradient, where it is needed."""
    return _empty(like, programs) if len(needs) > fixed and needs[fixed] else None


def _collect(sums: Tensor | None, dims: int = 1) -> Tensor | None:
    """Partial sums, added up over the first dimension."""
    return None if sums is None else sums.sum() if dims == 1 else sums.sum(0)


def _for_each(parameter: Tensor, N: int) -> Tensor:
    """`[N]` or, one value for all, `[1]` -> `[N]`."""
    return parameter.expand(N)


def _as(parameter: Tensor, each: Tensor | None) -> Tensor | None:
    """Each neuron's gradient, or each program's, in the shape of a parameter `[N]` or `[1]`."""
    return each.sum(0, keepdim=True) if each is not None and parameter.numel() == 1 else each


def _nothing(tensors: Tensors, needs: list[bool]) -> Gradients:
    """Gradients of no neurons, or of an output that depends on none of the tensors."""
    return [torch.zeros_like(tensor) if need else None for tensor, need in zip(tensors, needs, strict=True)]


# Linear scans in chunks.


class _Line(NamedTuple):
    """w[t] = decay w[t-1] + gain x[t], h = rest + w; decay and gain `[1]` or `[N]`."""

    decay: Tensor
    gain: Tensor
    rest: float = 0.0


def _in_chunks(x: Tensor) -> bool:
    return x.shape[0] >= LONG and x.shape[1] < NARROW


def _line_launch(size: int) -> tuple[int, int]:
    """Neurons of a program, programs."""
    return 16, -(-size // 16)


def _line_forward(
    x: Tensor,
    line: _Line,
    kind: Any,
    v_threshold: float = 0.0,
    strict: bool = True,
    noise: tuple[Tensor | None, Tensor | None, Tensor | None] = (None, None, None),
    crossing: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    out = torch.empty_like(x, dtype=dtype)
    (T, N), (block, programs) = x.shape, _line_launch(x.shape[1])
    _run(
        chunks.linear_forward,
        programs,
        *(x, line.decay, line.gain, *noise, out, crossing, N, float(v_threshold), float(line.rest)),
        T=T,
        PER_NEURON=int(line.decay.numel() > 1),
        OUT=kind.value,
        STRICT=strict,
        CHUNK=CHUNK,
        BLOCK=block,
    )
    return out


def _line_backward(
    g: Tensor,
    x: Tensor,
    line: _Line,
    kind: Any,
    needs: tuple[bool, bool, bool],
    v_threshold: float = 0.0,
    alpha: float = 1.0,
    code: int = 0,
    alpha_pointer: Tensor | None = None,
    to_alpha: bool = False,
    only_before: bool = False,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients to x, decay `[N]` and gain `[N]` where `needs`, and to alpha."""
    T, N = x.shape
    block, programs = _line_launch(N)
    crossing = torch.empty(N, dtype=torch.int32, device=x.device) if only_before else None
    h = None
    if kind.value != chunks.OUT_MEMBRANE.value or needs[1]:
        h = _line_forward(x, line, chunks.OUT_MEMBRANE, v_threshold, crossing=crossing, dtype=torch.float32)
    to_x = _like(x, needs[0])
    to_decay, to_gain = (_empty(x, N) if need else None for need in needs[1:])
    sums = _empty(x, programs) if to_alpha else None
    _run(
        chunks.linear_backward,
        programs,
        *(g, h, x, crossing, line.decay, line.gain, to_x, to_decay, to_gain, alpha_pointer, sums, N, float(alpha)),
        *(float(v_threshold), float(line.rest)),
        T=T,
        PER_NEURON=int(line.decay.numel() > 1),
        OUT=kind.value,
        ONLY_BEFORE=only_before,
        CODE=code,
        CHUNK=CHUNK,
        BLOCK=block,
    )
    return to_x, to_decay, to_gain, _collect(sums)


# Charge, fire and reset.


def _resetting_line(leak: Tensor, s: Resetting) -> _Line:
    return _Line(1.0 - leak, leak if s.decay_input else torch.ones_like(leak), s.rest)


def resetting_forward(tensors: Tensors, s: Resetting) -> Tensors:
    x, leak = tensors[:2]
    (T, N), launch = x.shape, _launch(x)
    if not x.numel():
        return [torch.empty_like(x)]
    if s.reset == NONE and _in_chunks(x):
        kind = chunks.OUT_MEMBRANE if s.membrane else chunks.OUT_THRESHOLD
        return [_line_forward(x, _resetting_line(leak, s), kind, s.v_threshold, s.strict)]
    out = torch.empty_like(x)
    _run(
        scan.resetting_forward,
        launch.programs,
        *(x, leak, out, N, float(s.v_threshold), float(s.rest), float(s.v_reset)),
        T=T,
        PER_NEURON=int(leak.numel() > 1),
        MEMBRANE=s.membrane,
        STRICT=s.strict,
        RESET=s.reset,
        DECAY_INPUT=s.decay_input,
        STAGES=launch.stages,
        BLOCK=launch.block,
        warps=launch.warps,
    )
    return [out]


def resetting_backward(grads: Tensors, tensors: Tensors, s: Resetting, needs: list[bool]) -> Gradients:
    x, leak = tensors[:2]
    (T, N), launch = x.shape, _launch(x)
    if not x.numel() or not any(needs):
        return _nothing(tensors, needs)
    per_neuron = leak.numel() > 1
    if s.reset == NONE and _in_chunks(x):
        to_x, to_decay, to_gain, to_alpha = _line_backward(
            *(grads[0], x, _resetting_line(leak, s), chunks.OUT_MEMBRANE if s.membrane else chunks.OUT_THRESHOLD),
            (needs[0], needs[1], needs[1] and s.decay_input),
            *(s.v_threshold, s.alpha, s.surrogate),
            alpha_pointer=_alpha(tensors, 2),
            to_alpha=any(needs[2:]),
        )
        each = None if to_decay is None else -to_decay if to_gain is None else to_gain - to_decay
        return [to_x, _as(leak, each), to_alpha][: len(tensors)]
    to_x = _like(x, needs[0])
    to_leak = _empty(x, N if per_neuron else launch.programs) if needs[1] else None
    sums = _partial(needs, 2, x, launch.programs)
    _run(
        scan.resetting_backward,
        launch.programs,
        *(grads[0], x, leak, _scratch(x, to_x), to_x, to_leak, _alpha(tensors, 2), sums, N),
        *(float(s.alpha), float(s.v_threshold), float(s.rest), float(s.v_reset)),
        T=T,
        PER_NEURON=int(per_neuron),
        MEMBRANE=s.membrane,
        STRICT=s.strict,
        RESET=s.reset,
        DETACH=s.detach,
        DECAY_INPUT=s.decay_input,
        CODE=s.surrogate,
        STAGES=launch.stages,
        BLOCK=launch.block,
        warps=launch.warps,
    )
    return [to_x, _as(leak, to_leak), _collect(sums)][: len(tensors)]


# A reset estimated from the sigmoid of a membrane without reset.


def _estimated_inputs(tensors: Tensors, s: Estimated) -> tuple[Tensor | None, Tensor | None, int]:
    """x, m, and how many tensors these are."""
    if s.kind == PSU:
        return tensors[0], None, 1
    return (None, tensors[0], 1) if s.kind == IPSU else (tensors[0], tensors[1], 2)


def estimated_forward(tensors: Tensors, s: Estimated) -> Tensors:
    x, m, _ = _estimated_inputs(tensors, s)
    out = torch.empty_like(tensors[0])
    (T, N), launch = out.shape, _launch(out)
    if out.numel():
        _run(
            scan.estimated_forward,
            launch.programs,
            *(x, m, out, None, None, N, float(s.v_threshold), float(s.decay), float(s.drop)),
            T=T,
            KIND=s.kind,
            MEMBRANE=s.membrane,
            STAGES=launch.stages,
            BLOCK=launch.block,
            warps=launch.warps,
        )
    return [out]


def estimated_backward(grads: Tensors, tensors: Tensors, s: Estimated, needs: list[bool]) -> Gradients:
    x, m, inputs = _estimated_inputs(tensors, s)
    (T, N), launch = tensors[0].shape, _launch(tensors[0])
    if not tensors[0].numel() or not any(needs):
        return _nothing(tensors, needs)
    to_inputs = [_like(tensor, need) for tensor, need in zip(tensors[:inputs], needs[:inputs], strict=True)]
    to_x, to_m = (None, to_inputs[0]) if s.kind == IPSU else (to_inputs[0], None if s.kind == PSU else to_inputs[1])
    # h in the place of the gradient that its own row goes into.
    scratch_h = None if s.membrane else _scratch(tensors[0], to_inputs[0])
    scratch_d = None
    if s.kind == PSU:
        scratch_d = _scratch(tensors[0], to_x if s.membrane else None)
    sums = _partial(needs, inputs, tensors[0], launch.programs)
    _run(
        scan.estimated_backward,
        launch.programs,
        *(grads[0], x, m, scratch_h, scratch_d, to_x, to_m, _alpha(tensors, inputs), sums, N),
        *(float(s.alpha), float(s.v_threshold), float(s.decay), float(s.drop)),
        T=T,
        KIND=s.kind,
        MEMBRANE=s.membrane,
        CODE=s.surrogate,
        STAGES=launch.stages,
        BLOCK=launch.block,
        warps=launch.warps,
    )
    return [*to_inputs, *([_collect(sums)] if len(tensors) > inputs else [])]


# The first crossing of a membrane without reset.


def first_crossing_forward(tensors: Tensors, s: FirstCrossing) -> Tensors:
    x, beta = tensors[:2]
    (T, N), launch = x.shape, _launch(x)
    if not x.numel():
        return [torch.empty_like(x)]
    if _in_chunks(x):
        kind = chunks.OUT_MEMBRANE if s.membrane else chunks.OUT_FIRST
        return [_line_forward(x, _Line(beta, torch.ones_like(beta)), kind, s.v_threshold)]
    out = torch.empty_like(x)
    _run(
        scan.first_crossing_forward,
        launch.programs,
        *(x, _for_each(beta, N), out, N, float(s.v_threshold)),
        T=T,
        MEMBRANE=s.membrane,
        STAGES=launch.stages,
        BLOCK=launch.block,
        warps=launch.warps,
    )
    return [out]


def first_crossing_backward(grads: Tensors, tensors: Tensors, s: FirstCrossing, needs: list[bool]) -> Gradients:
    x, beta = tensors[:2]
    (T, N), launch = x.shape, _launch(x)
    if not x.numel() or not any(needs):
        return _nothing(tensors, needs)
    if _in_chunks(x):
        to_x, to_beta, _, to_alpha = _line_backward(
            *(grads[0], x, _Line(beta, torch.ones_like(beta)), chunks.OUT_MEMBRANE if s.membrane else chunks.OUT_FIRST),
            (needs[0], needs[1], False),
            *(s.v_threshold, s.alpha, s.surrogate),
            alpha_pointer=_alpha(tensors, 2),
            to_alpha=any(needs[2:]),
            only_before=s.only_before and not s.membrane,
        )
        return [to_x, _as(beta, to_beta), to_alpha][: len(tensors)]
    to_x = _like(x, needs[0])
    to_beta = _empty(x, N) if needs[1] else None
    sums = _partial(needs, 2, x, launch.programs)
    _run(
        scan.first_crossing_backward,
        launch.programs,
        *(grads[0], x, _for_each(beta, N), _scratch(x, to_x), to_x, to_beta, _alpha(tensors, 2), sums, N),
        *(float(s.alpha), float(s.v_threshold)),
        T=T,
        MEMBRANE=s.membrane,
        ONLY_BEFORE=s.only_before,
        CODE=s.surrogate,
        STAGES=launch.stages,
        BLOCK=launch.block,
        warps=launch.warps,
    )
    return [to_x, _as(beta, to_beta), _collect(sums)][: len(tensors)]


# Spikes drawn with a probability.


def _noise(tensors: Tensors, given: bool) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """noise, key, draw: the first or the other two."""
    return (tensors[0], None, None) if given else (None, tensors[0], tensors[1])


def _drawn_line(x: Tensor, s: Drawn) -> _Line:
    decay = torch.full((1,), float(s.decay), device=x.device)
    return _Line(decay, decay)


def drawn_forward(tensors: Tensors, s: Drawn) -> Tensors:
    x = tensors[0]
    noise = _noise(tensors[1:], s.given)
    (T, N), launch = x.shape, _launch(x)
    if not x.numel():
        return [torch.empty_like(x)]
    if _in_chunks(x):
        kind = chunks.OUT_MEMBRANE if s.membrane else chunks.OUT_DRAW
        return [_line_forward(x, _drawn_line(x, s), kind, noise=noise)]
    out = torch.empty_like(x)
    _run(
        draws.drawn_forward,
        launch.programs,
        *(x, *noise, out, N, float(s.decay)),
        T=T,
        MEMBRANE=s.membrane,
        STAGES=launch.stages,
        BLOCK=launch.block,
        warps=launch.warps,
    )
    return [out]


def drawn_backward(grads: Tensors, tensors: Tensors, s: Drawn, needs: list[bool]) -> Gradients:
    x = tensors[0]
    (T, N), launch = x.shape, _launch(x)
    none: Gradients = [None] * (len(tensors) - 1)
    if not needs[0]:
        return [None, *none]
    if not x.numel() or (s.gradient == NO_GRADIENT and not s.membrane):
        return [torch.zeros_like(x), *none]
    of_sigmoid = s.gradient == SIGMOID_GRADIENT and not s.membrane
    assert of_sigmoid or s.membrane or s.gradient == STRAIGHT_THROUGH
    if _in_chunks(x):
        kind = chunks.OUT_DRAW if of_sigmoid else chunks.OUT_MEMBRANE
        return [_line_backward(grads[0], x, _drawn_line(x, s), kind, (True, False, False))[0], *none]
    to_x = torch.empty_like(x)
    _run(
        draws.drawn_backward,
        launch.programs,
        *(grads[0], x, _scratch(x, to_x) if of_sigmoid else None, to_x, N, float(s.decay)),
        T=T,
        OF_SIGMOID=of_sigmoid,
        STAGES=launch.stages,
        BLOCK=launch.block,
        warps=launch.warps,
    )
    return [to_x, *none]


# A membrane estimated from each step's own input.


def _guessed_fixed(s: Guessed) -> int:
    return 3 if s.given else 4


def guessed_forward(tensors: Tensors, s: Guessed) -> Tensors:
    x, v_threshold = tensors[:2]
    (T, N), launch = x.shape, _launch(x)
    pairs = T - int(s.current)
    if not x.numel():
        return [torch.empty_like(x), torch.zeros(pairs if s.errors else 0, device=x.device)]
    out = torch.empty_like(x)
    sums = _empty(x, launch.programs, pairs) if s.errors and pairs else None
    _run(
        draws.guessed_forward,
        launch.programs,
        *(x, v_threshold, *_noise(tensors[2:], s.given), out, sums, N, float(s.beta)),
        T=T,
        MEMBRANE=s.membrane,
        CURRENT=s.current,
        STAGES=launch.stages,
        BLOCK=launch.block,
        warps=launch.warps,
    )
    return [out, _empty(x, 0) if sums is None else sums.sum(0)]


def guessed_backward(grads: Tensors, tensors: Tensors, s: Guessed, needs: list[bool]) -> Gradients:
    x, v_threshold = tensors[:2]
    fixed = _guessed_fixed(s)
    (T, N), launch = x.shape, _launch(x)
    if not x.numel() or not any(needs):
        return _nothing(tensors, needs)
    of_errors = grads[1] if s.errors and int(s.current) < T else None
    to_x = _like(x, needs[0])
    to_threshold = _empty(x, launch.programs) if needs[1] else None
    sums = _partial(needs, fixed, x, launch.programs)
    _run(
        draws.guessed_backward,
        launch.programs,
        *(grads[0], of_errors, x, v_threshold, *_noise(tensors[2:], s.given)),
        *(to_x, to_threshold, _alpha(tensors, fixed), sums, N, float(s.alpha), float(s.beta)),
        T=T,
        MEMBRANE=s.membrane,
        CURRENT=s.current,
        CODE=s.surrogate,
        STAGES=launch.stages,
        BLOCK=launch.block,
        warps=launch.warps,
    )
    of_noise: Gradients = [None] * (fixed - 2)
    return [to_x, _collect(to_threshold), *of_noise, _collect(sums)][: len(tensors)]


# A threshold that adapts.


def adaptive_forward(tensors: Tensors, s: Adaptive) -> Tensors:
    x, decay_h, decay_a = tensors[:3]
    out = torch.empty_like(x)
    (T, N), launch = x.shape, _launch(x)
    if x.numel():
        _run(
            scan.adaptive_forward,
            launch.programs,
            *(x, _for_each(decay_h, N), _for_each(decay_a, N), out, None, None, N, float(s.v_threshold), float(s.beta)),
            T=T,
            MEMBRANE=s.membrane,
            STAGES=launch.stages,
            BLOCK=launch.block,
            warps=launch.warps,
        )
    return [out]


def adaptive_backward(grads: Tensors, tensors: Tensors, s: Adaptive, needs: list[bool]) -> Gradients:
    x, decay_h, decay_a = tensors[:3]
    (T, N), launch = x.shape, _launch(x)
    if not x.numel() or not any(needs):
        return _nothing(tensors, needs)
    to_x = _like(x, needs[0])
    to_decay_h, to_decay_a = (_empty(x, N) if need else None for need in needs[1:3])
    sums = _partial(needs, 3, x, launch.programs)
    _run(
        scan.adaptive_backward,
        launch.programs,
        *(grads[0], x, _for_each(decay_h, N), _for_each(decay_a, N), _scratch(x, to_x), _empty(x, T, N)),
        *(to_x, to_decay_h, to_decay_a),
        *(_alpha(tensors, 3), sums, N, float(s.alpha), float(s.v_threshold), float(s.beta)),
        T=T,
        MEMBRANE=s.membrane,
        CODE=s.surrogate,
        STAGES=launch.stages,
        BLOCK=launch.block,
        warps=launch.warps,
    )
    return [to_x, _as(decay_h, to_decay_h), _as(decay_a, to_decay_a), _collect(sums)][: len(tensors)]


# A learned product over time.


def _tile(num_steps: int, most: int) -> int:
    """Rows of a tile: a power of two, at least the 16 of a product, at most `most`."""
    return min(most, max(16, 1 << (num_steps - 1).bit_length()))


def _product(
    x: Tensor,
    out: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    s: Product,
    mode: Any,
    transposed: bool = False,
    g: Tensor | None = None,
    alpha_pointer: Tensor | None = None,
    learns: bool = False,
) -> Tensor | None:
    """The product by tiles, to out; alpha's gradient where it learns."""
    T, N = x.shape
    rows, block = _tile(T, 64), 64
    programs = -(-T // rows) * -(-N // block)
    sums = _empty(x, programs) if learns else None
    _run(
        mix.product,
        programs,
        *(x, weight, bias, g, out, alpha_pointer, sums, N, float(s.v_threshold), float(s.alpha)),
        T=T,
        MODE=mode.value,
        TRANSPOSED=transposed,
        STRICT=s.strict,
        BAND=s.band,
        CODE=s.surrogate,
        ROWS=rows,
        DEPTH=16,
        BLOCK=block,
    )
    return _collect(sums)


def product_forward(tensors: Tensors, s: Product) -> Tensors:
    x, weight, bias = tensors[:3]
    T, N = x.shape
    out = torch.empty_like(x)
    mode = mix.OUT_MEMBRANE if s.membrane else mix.OUT_SPIKES
    if not x.numel():
        return [out]
    if T > SHORT:
        _product(x, out, weight, bias, s, mode)
        return [out]
    block, warps = (512, 4) if N >= 2**17 else (128, 4)
    _run(
        mix.product_short,
        -(-N // block),
        *(x, weight, bias, out, N, float(s.v_threshold)),
        T=T,
        MODE=mode.value,
        STRICT=s.strict,
        BAND=s.band,
        BLOCK=block,
        warps=warps,
    )
    return [out]


def product_backward(grads: Tensors, tensors: Tensors, s: Product, needs: list[bool]) -> Gradients:
    x, weight, bias = tensors[:3]
    T, N = x.shape
    if not x.numel() or not any(needs):
        return _nothing(tensors, needs)
    to_x = _like(x, needs[0])
    of_weight = needs[1] or needs[2]
    if T <= AT_ONCE:
        block = 64
        programs = min(SHARES, -(-N // block))
        to_weight = _empty(x, programs, T, T) if needs[1] else None
        to_bias = _empty(x, programs, T) if needs[2] else None
        sums = _partial(needs, 3, x, programs)
        _run(
            mix.product_backward,
            programs,
            *(grads[0], x, weight, bias, to_x, to_weight, to_bias, _alpha(tensors, 3), sums, N, programs),
            *(float(s.v_threshold), float(s.alpha)),
            T=T,
            MODE=(mix.OUT_MEMBRANE if s.membrane else mix.OUT_GRADIENT).value,
            BAND=s.band,
            CODE=s.surrogate,
            ROWS=_tile(T, AT_ONCE),
            BLOCK=block,
        )
        return [to_x, _collect(to_weight, 3), _collect(to_bias, 2), _collect(sums)][: len(tensors)]
    to_h, to_alpha = grads[0], None
    if not s.membrane:
        to_h = _empty(x, T, N)
        learns = len(needs) > 3 and needs[3]
        to_alpha = _product(
            x, to_h, weight, bias, s, mix.OUT_GRADIENT, g=grads[0], alpha_pointer=_alpha(tensors, 3), learns=learns
        )
    elif len(needs) > 3 and needs[3]:
        to_alpha = torch.zeros_like(tensors[3])
    if to_x is not None:
        _product(to_h, to_x, weight, None, s, mix.OUT_MEMBRANE, transposed=True)
    to_weight = to_bias = None
    if of_weight:
        rows, block = _tile(T, 64), 32
        tiles = -(-T // rows)
        shares = min(max(1, SHARES // tiles**2), -(-N // block))
        to_weight = _empty(x, shares, T, T)
        to_bias = _empty(x, shares, T) if needs[2] else None
        _run(
            mix.product_weight,
            shares * tiles * tiles,
            *(to_h, x, to_weight, to_bias, N, shares),
            T=T,
            BAND=s.band,
            ROWS=rows,
            BLOCK=block,
        )
    return [to_x, _collect(to_weight, 3) if needs[1] else None, _collect(to_bias, 2), to_alpha][: len(tensors)]


# A learned filter of the last steps.


def _filter(
    x: Tensor,
    out: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    s: Filter,
    mode: Any,
    later: bool = False,
    g: Tensor | None = None,
    alpha_pointer: Tensor | None = None,
    learns: bool = False,
) -> Tensor | None:
    """The filter, to out; alpha's gradient where it learns."""
    (T, N), K = x.shape, len(weight)
    block, steps = 512 if N >= 2**17 else 128, 16 if T > 16 else T
    programs = -(-T // steps) * -(-N // block)
    sums = _empty(x, programs) if learns else None
    _run(
        mix.filter_steps,
        programs,
        *(x, weight, bias, g, out, alpha_pointer, sums, N, float(s.alpha)),
        T=T,
        K=K,
        LAGS=min(K, T),
        MODE=mode.value,
        LATER=later,
        CODE=s.surrogate,
        STEPS=steps,
        BLOCK=block,
    )
    return _collect(sums)


def filter_forward(tensors: Tensors, s: Filter) -> Tensors:
    x, weight, bias = tensors[:3]
    out = torch.empty_like(x)
    if x.numel():
        _filter(x, out, weight, bias, s, mix.OUT_MEMBRANE if s.membrane else mix.OUT_SPIKES)
    return [out]


def filter_backward(grads: Tensors, tensors: Tensors, s: Filter, needs: list[bool]) -> Gradients:
    x, weight, bias = tensors[:3]
    (T, N), K = x.shape, len(weight)
    if not x.numel() or not any(needs):
        return _nothing(tensors, needs)
    learns = len(needs) > 3 and needs[3]
    to_h, to_alpha = grads[0], None
    if not s.membrane:
        to_h = _empty(x, T, N)
        to_alpha = _filter(
            x, to_h, weight, bias, s, mix.OUT_GRADIENT, g=grads[0], alpha_pointer=_alpha(tensors, 3), learns=learns
        )
    elif learns:
        to_alpha = torch.zeros_like(tensors[3])
    to_x = _like(x, needs[0])
    if to_x is not None:
        _filter(to_h, to_x, weight, None, s, mix.OUT_MEMBRANE, later=True)
    to_weight = None
    if needs[1]:
        block, lags = 512, min(K, T)
        blocks = -(-N // block)
        # A lag beyond the first step is in no program.
        to_weight = torch.zeros(blocks, K, device=x.device) if lags < K else _empty(x, blocks, K)
        _run(mix.filter_weight, blocks * lags, to_h, x, to_weight, N, T=T, K=K, LAGS=lags, BLOCK=block)
    to_bias = to_h.sum(dtype=torch.float32) if needs[2] else None
    return [to_x, _collect(to_weight, 2), to_bias, to_alpha][: len(tensors)]
