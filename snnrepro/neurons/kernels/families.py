"""What the fused kernels compute: a family of operations each, with its tensors and its settings.

A family `f` is computed by `f_forward(tensors, settings) -> outputs` and `f_backward(grads, tensors, settings, needs)
-> a gradient for each tensor, None where it is not needed`, once for the CPU (cpu_ops.py, numba) and once for CUDA
(triton_ops.py). Tensors over time are `[T, N]`, contiguous: N neurons of all samples, each by itself. Where a family
takes `alpha` `[]`, the learned width of the surrogate, it is the last tensor and there only if it is learned; else
settings.alpha holds. `membrane`: the output is h, and the upstream gradient that of h; otherwise spikes.
"""

from typing import Any, NamedTuple

from torch import Tensor

# The surrogates of surrogate.py.
ATAN, SIGMOID, TRIANGLE, RECTANGLE, FAST_SIGMOID, EXPONENTIAL = range(6)
CODES = {
    "atan": ATAN,
    "sigmoid": SIGMOID,
    "triangle": TRIANGLE,
    "rectangle": RECTANGLE,
    "fast_sigmoid": FAST_SIGMOID,
    "exponential": EXPONENTIAL,
}
SOFT, HARD, NONE = range(3)  # resets
PSU, IPSU, RPSU = range(3)  # ways of estimating a reset
SIGMOID_GRADIENT, STRAIGHT_THROUGH, NO_GRADIENT = range(3)  # of a draw

Tensors = list[Tensor]
Gradients = list[Tensor | None]


class Resetting(NamedTuple):
    """IF, LIF, PLIF, LIF without reset, the Block paper's multi-spike LIF: tensors x, leak `[1]` or `[N]`, alpha?.

        h[t] = v[t-1] + leak (x[t] - (v[t-1] - rest))   (decay_input)   or   v[t-1] - leak (v[t-1] - rest) + x[t]
        s[t] = 1[h[t] >= v_threshold]   (> where strict)
        v[t] = h[t] - s[t] v_threshold (SOFT), h[t] (1 - s[t]) + s[t] v_reset (HARD), h[t] (NONE);   v[-1] = rest

    detach: no gradient through the s of the last line.
    """

    membrane: bool
    surrogate: int
    alpha: float
    v_threshold: float
    strict: bool
    reset: int
    rest: float
    v_reset: float
    detach: bool
    decay_input: bool


class Estimated(NamedTuple):
    """PSU, and IPSU and RPSU after their product m `[T, N]`: tensors x, alpha? (PSU); m, alpha? (IPSU); x, m, alpha?.

    d[t] = decay (d[t-1] + x[t])                        (PSU, RPSU)
    r[t] = decay (r[t-1] + sigmoid(e[t])),   e = d (PSU), m (IPSU, RPSU)
    h[t] = base[t] - drop r[t-1],   base = d (PSU, RPSU), m (IPSU)
    s[t] = 1[h[t] > v_threshold]
    """

    membrane: bool
    surrogate: int
    alpha: float
    v_threshold: float
    kind: int
    decay: float
    drop: float


class FirstCrossing(NamedTuple):
    """Block: tensors x, beta `[N]`, alpha?.

        h[t] = beta h[t-1] + x[t]
        F[t] = 1[h[t] > v_threshold]
        s[t] = F[t] where no earlier F is 1, else 0

    Backward, with z[t] = sum_{k<=t} (t-k+1) F[k]: the gradient to F[k] is sum_{t>=k} (t-k+1) to_z[t], to_z = g, and
    where `only_before` (version 1) g at those t with z[t] = 0 only, 0 elsewhere.
    """

    membrane: bool
    surrogate: int
    alpha: float
    v_threshold: float
    only_before: bool


class Drawn(NamedTuple):
    """SPSN: tensors x, then noise `[T, N]` where `given`, else key and draw, int64 `[]`, for noise.uniform.

        d[t] = decay (d[t-1] + x[t])
        s[t] = 1[noise[t] < sigmoid(d[t])];   the gradient to d is g sigmoid'(d), g or 0, by `gradient`

    The membrane is d.
    """

    membrane: bool
    given: bool
    decay: float
    gradient: int


class Guessed(NamedTuple):
    """MPE-PSN: tensors x, v_threshold `[]`, then noise or key and draw as in Drawn, alpha?. Two outputs: s (or h), e.

        b[t] = 1[noise[t] < sigmoid(x[t])], no gradient;   vhat[t] = 0 where b[t], else x[t]
        h[t] = x[t] + beta vhat[t-1],   or with vhat[t] where `current`;   h[0] = x[0]
        s[t] = 1[h[t] > v_threshold];   v[t] = (1 - s[t]) h[t]
        e[t] = sum over n of (vhat[t] - v[t])^2, `[T]`;   where `current` e[t] = that of (vhat[t+1] - v[t])^2, `[T-1]`

    e has no elements, and no gradient, where `errors` is false.
    """

    membrane: bool
    surrogate: int
    alpha: float
    given: bool
    current: bool
    beta: float
    errors: bool


class Adaptive(NamedTuple):
    """ALIF: tensors x, decay_h `[N]`, decay_a `[N]`, alpha?.

    a[t] = decay_a a[t-1] + (1 - decay_a) s[t-1],   a[-1] = v_threshold;   theta[t] = v_threshold + beta a[t]
    h[t] = decay_h h[t-1] + (1 - decay_h) x[t] - theta[t] s[t-1]
    s[t] = 1[h[t] > theta[t]], the surrogate's u = h - theta
    """

    membrane: bool
    surrogate: int
    alpha: float
    v_threshold: float
    beta: float


class Product(NamedTuple):
    """PSN, masked PSN, IPSU as released, products of IPSU and RPSU: tensors x, weight `[T, T]`, bias `[T]`, alpha?.

        h = weight x + bias;   s = 1[h >= v_threshold] (> where strict)

    band: 0 for all T x T products; else weight[i, j] is 0 but for 0 <= i - j < band, whose products alone have to be
    made; what gradient the zeros get is not said. keep: forward may return h `[T, N]` as one more output, which
    backward then finds as the last of its tensors, rather than make the products again.
    """

    membrane: bool
    surrogate: int
    alpha: float
    v_threshold: float
    strict: bool
    band: int
    keep: bool = False


class Filter(NamedTuple):
    """Sliding PSN: tensors x, weight `[k]`, bias `[]`, alpha?.

    h[t] = sum_{lag < min(k, t+1)} weight[k-1-lag] x[t-lag] + bias;   s = 1[h >= 0]
    """

    membrane: bool
    surrogate: int
    alpha: float


FAMILIES: dict[str, Any] = {
    "resetting": Resetting,
    "estimated": Estimated,
    "first_crossing": FirstCrossing,
    "drawn": Drawn,
    "guessed": Guessed,
    "adaptive": Adaptive,
    "product": Product,
    "filter": Filter,
}
