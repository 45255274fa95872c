"""Parallel Spiking Units: the reset is estimated from the sigmoid of the membrane without reset.

Shapes: x, D, H `[T, B, *]`; A, R, L, W `[T, T]`; b `[T]`.
    A[i, j] = tau^-(i-j+1) for j <= i      R[i, j] = -tau^-(i-j) for j < i      L[i, j] = 1 for j <= i
A and R are exponential kernels, applied in linear time by scans; the learned W is a T x T product.
Source: Li et al., IJCNN 2024, arXiv 2402.00449.
"""

import math
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn

from snnrepro.errors import UserError, require_positive
from snnrepro.neurons.kernels import families, ops
from snnrepro.neurons.neuron import Neuron, Operations, State, check_tau
from snnrepro.neurons.psn import buffered, fused_product, product_over_time, too_long_product, with_past
from snnrepro.neurons.scan import exponential_kernel, exponential_scan, exponential_scan_dense, scan_or_dense
from snnrepro.neurons.surrogate import SurrogateSpec
from snnrepro.types import AtLeastOne, PositiveFloat


def psu_kernels(num_steps: int, tau: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """A and R `[T, T]`, in the dtype and on the device of `like`."""
    decay = exponential_kernel(num_steps, 1 / tau, like)
    return decay / tau, -decay.tril(-1)


def reset_kernel(num_steps: int, tau: float, like: Tensor) -> Tensor:
    """R, made once for each length."""
    if torch.compiler.is_compiling():
        return psu_kernels(num_steps, tau, like)[1]
    return _reset_kernel(num_steps, tau, like.dtype, like.device)


@cache
def _reset_kernel(num_steps: int, tau: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return psu_kernels(num_steps, tau, torch.empty(0, dtype=dtype, device=device))[1]


def _over_time(matrix: Tensor, x: Tensor) -> Tensor:
    """`[T, T]` times `[T, B, *]`, along time."""
    product: Tensor = torch.tensordot(matrix, x, 1)
    return product


def psu_reference(x: Tensor, tau: float, v_threshold: float) -> Tensor:
    """H `[T, B, *]` of the PSU, as the paper writes it: with the matrices A and R."""
    a, r = psu_kernels(x.shape[0], tau, x)
    d = _over_time(a, x)
    return d + v_threshold * _over_time(r, torch.sigmoid(d))


def ipsu_reference(x: Tensor, weight: Tensor, bias: Tensor, tau: float, reset: str) -> Tensor:
    """H `[T, B, *]` of the IPSU: D = (W * L) X + b; H = D + R X as released, D + R sigmoid(D) with estimated reset."""
    _, r = psu_kernels(x.shape[0], tau, x)
    d = _over_time(weight.tril(), x) + bias.view(-1, *[1] * (x.ndim - 1))
    return d + _over_time(r, x if reset == "released" else torch.sigmoid(d))


def rpsu_reference(x: Tensor, weight: Tensor, bias: Tensor, tau: float) -> Tensor:
    """H `[T, B, *]` of the RPSU: A X + R sigmoid((W * L) X + b)."""
    a, r = psu_kernels(x.shape[0], tau, x)
    estimate = torch.sigmoid(_over_time(weight.tril(), x) + bias.view(-1, *[1] * (x.ndim - 1)))
    return _over_time(a, x) + _over_time(r, estimate)


def delayed(y: Tensor, first: Tensor | None = None) -> Tensor:
    """y `[T, B, *]` one step later, `first` (or 0) before it: R Y = -delayed(scan(Y))."""
    start = torch.zeros_like(y[:1]) if first is None else first[None]
    return torch.cat([start, y[:-1]])


def _estimated(neuron: "PSU | IPSU | RPSU", kind: int, inputs: list[Tensor], membrane: bool, drop: float) -> Tensor:
    """A reset estimated by one fused kernel, see families.Estimated."""
    assert isinstance(neuron.v_threshold, float | int)
    code, alpha, learned = neuron._surrogate(inputs[0])
    settings = families.Estimated(membrane, code, alpha, neuron.v_threshold, kind, 1 / neuron.tau, drop)
    return ops.fused("estimated", [*inputs, *learned], settings)[0]


def _full(x: Tensor) -> Tensor:
    """At least fp32: a product goes on unrounded to the reset that is estimated from it."""
    return x.float() if x.dtype.itemsize == 2 else x


def learned_weight(num_steps: int) -> nn.Parameter:
    """`[T, T]`, Kaiming normal (fan_out, relu): N(0, 2 / T)."""
    return nn.Parameter(math.sqrt(2 / num_steps) * torch.randn(num_steps, num_steps))


class PSU(Neuron):
    """Parallel Spiking Unit: a LIF whose spikes in the reset are replaced by the sigmoid of the unreset membrane.

        D = A X
        H = D + v_threshold R sigmoid(D)
        S = 1[H > v_threshold]

    tau: decay constant, at least 1. Nothing is learned but, where asked, the surrogate's alpha.
    Cost: O(T) as two scans (`fused`, `torch`), O(T^2) as two products (`dense`).
    Source: Li et al., IJCNN 2024, arXiv 2402.00449.
    Differences: with the true spikes S in place of sigmoid(D), H is exactly the soft-reset LIF at tau 2, and at no
    other tau: the code decays by 1/tau, a LIF by 1 - 1/tau.
    Raises UserError for tau < 1 or v_threshold <= 0.
    """

    fires_at_threshold = False
    backends = ("fused", "torch", "dense", "reference")

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        tau: AtLeastOne = 2.0,
        v_threshold: PositiveFloat = 0.5,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "fused", "torch", "dense", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, surrogate, backend)
        require_positive(v_threshold=v_threshold)
        self.tau = check_tau(tau)

    def _membrane_and_spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kernel, decay = self.kernel(len(x), x.device), 1 / self.tau
        if kernel == "reference":
            h = psu_reference(x, self.tau, float(self.v_threshold))
        else:
            scan = exponential_scan if kernel == "torch" else exponential_scan_dense
            d = scan(x, decay, decay)
            h = d - self.v_threshold * delayed(scan(torch.sigmoid(d), decay, decay))
        return h, self._fire(h)

    def _fused(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        assert isinstance(self.v_threshold, float | int)
        return _estimated(self, families.PSU, [x], membrane, self.v_threshold)

    def _advance(self, x: Tensor, state: State) -> Tensor:
        decay = 1 / self.tau
        d = exponential_scan(x, decay, decay, state.get("d"))
        reset = exponential_scan(torch.sigmoid(d), decay, decay, state.get("reset"))
        h = d - self.v_threshold * delayed(reset, state.get("reset"))
        state.update(d=d[-1], reset=reset[-1])
        return self._fire(h)

    def _fastest(self, num_steps: int, device: torch.device) -> str:
        return scan_or_dense(num_steps, device)

    def operations(self, num_steps: int) -> Operations:
        """A step: one MAC for each of the two running sums, one for h; one sigmoid."""
        return Operations(3 * num_steps, 0, state_bytes=8, function_evaluations=num_steps)

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, {super().extra_repr()}"


class IPSU(Neuron):
    """Input-aware PSU: the kernel over past inputs is learned.

        D = (W * L) X + b
        H = D + R X (reset: released)   or   D + R sigmoid(D) (reset: estimated)
        S = 1[H > v_threshold]

    `weight` [T, T]: learned, N(0, 2 / T) at the start, used up to the diagonal. `bias` [T]: learned, starts at 0.
    tau: decay constant of R, at least 1.
    Cost: O(T^2) for the learned product; the estimated reset is a scan, O(T).
    Source: Li et al., IJCNN 2024, arXiv 2402.00449.
    Differences: the released class adds R X, without sigmoid; that the paper's text means R sigmoid(D), a class of
    another name in its code, is likely but not verified.
    Raises UserError for a missing num_steps, tau < 1, v_threshold <= 0 or an unknown reset.
    """

    fixed_length = True
    fires_at_threshold = False
    backends = ("fused", "torch", "reference")

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        reset: Literal["released", "estimated"] = "released",
        tau: AtLeastOne = 2.0,
        v_threshold: PositiveFloat = 0.5,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "fused", "torch", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, surrogate, backend)
        assert num_steps is not None
        require_positive(v_threshold=v_threshold)
        if reset not in ("released", "estimated"):
            raise UserError(f"reset is released or estimated, got {reset!r}")
        self.tau = check_tau(tau)
        self.reset = reset
        self.weight = learned_weight(num_steps)
        self.bias = nn.Parameter(torch.zeros(num_steps))

    def _kernel_over_time(self, x: Tensor) -> Tensor:
        """W * L, as released with R added: both act on X. `[T, T]`."""
        weight = self.weight.to(x.dtype).tril()
        return weight + reset_kernel(len(weight), self.tau, x) if self.reset == "released" else weight

    def _membrane_and_spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        bias = self.bias.to(x.dtype)
        if self.kernel(len(x), x.device) == "reference":
            h = ipsu_reference(x, self.weight.to(x.dtype), bias, self.tau, self.reset)
        else:
            h = product_over_time(x, self._kernel_over_time(x), bias)
            if self.reset == "estimated":
                h = h - delayed(exponential_scan(torch.sigmoid(h), 1 / self.tau, 1 / self.tau))
        return h, self._fire(h)

    def _fused(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        weight = self._kernel_over_time(_full(x[:0]))  # of x its dtype
        if self.reset == "released":
            return fused_product(self, x, weight, self.bias, membrane, len(x))
        product = fused_product(self, _full(x), weight, self.bias, True, len(x))
        return _estimated(self, families.IPSU, [product], membrane, 1.0)

    def _too_long(self, num_steps: int, device: torch.device) -> str | None:
        return too_long_product(num_steps, device)

    def _advance(self, x: Tensor, state: State) -> Tensor:
        seen, start, stop = with_past(x, state, len(self.bias))
        weight = self._kernel_over_time(x)[start:stop, :stop]
        h = product_over_time(seen, weight, self.bias[start:stop].to(x.dtype))
        if self.reset == "estimated":
            reset = exponential_scan(torch.sigmoid(h), 1 / self.tau, 1 / self.tau, state.get("reset"))
            h = h - delayed(reset, state.get("reset"))
            state["reset"] = reset[-1]
        return self._fire(h)

    def operations(self, num_steps: int) -> Operations:
        """The products below and on the diagonal and the bias; an estimated reset adds a running sum and a sigmoid."""
        products = num_steps * (num_steps + 1) // 2
        if self.reset == "released":
            return buffered(products, num_steps, num_steps)
        return with_running_sums(buffered(products, num_steps, num_steps), 1, num_steps)

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, reset={self.reset}, {super().extra_repr()}"


class RPSU(Neuron):
    """Reset-aware PSU: what the sigmoid of the reset sees is learned.

        H = A X + R sigmoid((W * L) X + b)
        S = 1[H > v_threshold]

    `weight` [T, T]: learned, N(0, 2 / T) at the start, used up to the diagonal. `bias` [T]: learned, starts at 0.
    tau: decay constant of A and R, at least 1. R is not scaled by v_threshold.
    Cost: O(T^2) for the learned product; A and R are scans, O(T).
    Source: Li et al., IJCNN 2024, arXiv 2402.00449.
    Raises UserError for a missing num_steps, tau < 1 or v_threshold <= 0.
    """

    fixed_length = True
    fires_at_threshold = False
    backends = ("fused", "torch", "reference")

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        tau: AtLeastOne = 2.0,
        v_threshold: PositiveFloat = 0.5,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "fused", "torch", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, surrogate, backend)
        assert num_steps is not None
        require_positive(v_threshold=v_threshold)
        self.tau = check_tau(tau)
        self.weight = learned_weight(num_steps)
        self.bias = nn.Parameter(torch.zeros(num_steps))

    def _membrane_and_spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        if self.kernel(len(x), x.device) == "reference":
            h = rpsu_reference(x, weight, bias, self.tau)
        else:
            decay = 1 / self.tau
            estimate = torch.sigmoid(product_over_time(x, weight.tril(), bias))
            h = exponential_scan(x, decay, decay) - delayed(exponential_scan(estimate, decay, decay))
        return h, self._fire(h)

    def _fused(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        full = _full(x)
        product = fused_product(self, full, self.weight.tril(), self.bias, True, len(x))
        return _estimated(self, families.RPSU, [full, product], membrane, 1.0)

    def _too_long(self, num_steps: int, device: torch.device) -> str | None:
        return too_long_product(num_steps, device)

    def _advance(self, x: Tensor, state: State) -> Tensor:
        decay = 1 / self.tau
        seen, start, stop = with_past(x, state, len(self.bias))
        weight = self.weight.to(x.dtype).tril()[start:stop, :stop]
        estimate = torch.sigmoid(product_over_time(seen, weight, self.bias[start:stop].to(x.dtype)))
        d = exponential_scan(x, decay, decay, state.get("d"))
        reset = exponential_scan(estimate, decay, decay, state.get("reset"))
        h = d - delayed(reset, state.get("reset"))
        state.update(d=d[-1], reset=reset[-1])
        return self._fire(h)

    def operations(self, num_steps: int) -> Operations:
        """The products below and on the diagonal and the bias; two running sums, their difference, one sigmoid."""
        products = num_steps * (num_steps + 1) // 2
        return with_running_sums(buffered(products, num_steps, num_steps), 2, num_steps)

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, {super().extra_repr()}"


def with_running_sums(one: Operations, sums: int, num_steps: int) -> Operations:
    """The products of a neuron and `sums` running sums, a MAC a step each; the reset: a sigmoid, an addition."""
    return one._replace(
        macs=one.macs + sums * num_steps,
        acs=one.acs + num_steps,
        state_bytes=one.state_bytes + 4 * sums,
        state_accesses=one.accesses(num_steps) + 2 * sums * num_steps,
        function_evaluations=num_steps,
    )
