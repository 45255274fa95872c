"""Parallel Spiking Neurons: a learned product over time in place of the recursion and its reset.

Shapes: X, H `[T, B, *]`; one weight and bias per layer, shared by all its neurons. Fire where H >= 0: the threshold is
in the bias, which starts at -1.
Source: Fang et al., NeurIPS 2023, arXiv 2304.12760.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snnrepro.errors import UserError
from snnrepro.neurons.kernels import ops
from snnrepro.neurons.kernels.families import Filter, Product
from snnrepro.neurons.neuron import Neuron, Operations, State, wide
from snnrepro.neurons.surrogate import SurrogateSpec
from snnrepro.types import Fraction, PositiveInt


def psn_reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """H `[T, B, *]`, h[i] = sum_j W[i, j] x[j] + b[i], written out; weight `[T, T]`, bias `[T]`."""
    steps = range(x.shape[0])
    return torch.stack([sum((weight[i, j] * x[j] for j in steps), start=bias[i]) for i in steps])


def product_over_time(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same as one product: x `[T, B, *]`, weight `[t, T]`, bias `[t]` -> `[t, B, *]`."""
    return torch.addmm(bias[:, None], weight, x.flatten(1)).view(len(weight), *x.shape[1:])


def fused_product(neuron: Neuron, x: Tensor, weight: Tensor, bias: Tensor, membrane: bool, band: int = 0) -> Tensor:
    """weight x + bias as one fused kernel, and what of it fires; only the last `band` inputs enter, 0: all."""
    assert isinstance(neuron.v_threshold, float | int)
    code, alpha, learned = neuron._surrogate(x)
    keep = torch.is_grad_enabled()
    settings = Product(membrane, code, alpha, neuron.v_threshold, not neuron.fires_at_threshold, band, keep)
    return ops.fused("product", [x, wide(weight, x), wide(bias, x), *([] if membrane else learned)], settings)[0]


def too_long_product(num_steps: int, device: torch.device) -> str | None:
    """Why a GPU's kernel does not multiply over so many steps."""
    if device.type == "cuda" and num_steps > ops.LONGEST_PRODUCT:
        return f"T = {num_steps}: the kernel multiplies over at most {ops.LONGEST_PRODUCT} steps"
    return None


def buffered(products: int, num_steps: int, kept: int) -> Operations:
    """Of a neuron that keeps inputs: each is written once and read for every product with it; a bias at every step."""
    return Operations(products, num_steps, state_bytes=4 * kept, state_accesses=num_steps + products)


def uniform_weight(*shape: int) -> nn.Parameter:
    """Kaiming uniform with a = sqrt 5: U(-1/sqrt n, 1/sqrt n), n the last of `shape`."""
    weight = torch.empty(shape if len(shape) > 1 else (1, *shape))
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    return nn.Parameter(weight.view(shape))


class PSN(Neuron):
    """Parallel Spiking Neuron. Looks ahead: every output sees every input.

        H = W X + b
        S = 1[H >= 0]

    `weight` [T, T]: learned, starts U(-1/sqrt T, 1/sqrt T). `bias` [T]: learned, starts at -1.
    Cost: O(T^2).
    Source: Fang et al., NeurIPS 2023, arXiv 2304.12760.
    Raises UserError for a missing num_steps.
    """

    causal = False
    fixed_length = True
    backends = ("fused", "torch", "reference")

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "fused", "torch", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, 0.0, surrogate, backend)
        assert num_steps is not None
        self.weight = uniform_weight(num_steps, num_steps)
        self.bias = nn.Parameter(torch.full((num_steps,), -1.0))

    def _membrane_and_spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        form = psn_reference if self.kernel(len(x), x.device) == "reference" else product_over_time
        h = form(x, self.weight.to(x.dtype), self.bias.to(x.dtype))
        return h, self._fire(h)

    def _fused(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        return fused_product(self, x, self.weight, self.bias, membrane)

    def _too_long(self, num_steps: int, device: torch.device) -> str | None:
        return too_long_product(num_steps, device)

    def operations(self, num_steps: int) -> Operations:
        """T products for each of T outputs and one addition of the bias; all T inputs are kept until the last."""
        return buffered(num_steps**2, num_steps, num_steps)


class MaskedPSN(Neuron):
    """PSN whose weight is masked, step by step over the first epochs, to the last `order` inputs.

        H = (W * M) X + b,   M = lambda M_k + (1 - lambda) J,   M_k[i, j] = 1 where j <= i <= j + k - 1
        S = 1[H >= 0]

    `weight` [T, T], `bias` [T]: as in the PSN. `lambda_` []: saved, not learned; at the start of epoch e of E it
    becomes min(1, 8 e / (E - 1)), and 1 where E = 1. Causal once lambda_ = 1; before, no epoch counts as the best.
    order: k, null for T.
    Cost: O(T^2).
    Source: Fang et al., NeurIPS 2023, arXiv 2304.12760.
    Raises UserError for a missing num_steps or an order below 1 or above T.
    """

    fixed_length = True
    backends = ("fused", "torch", "reference")

    lambda_: Tensor
    mask: Tensor

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        order: PositiveInt | None = None,
        lambda_: Fraction = 0.0,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "fused", "torch", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, 0.0, surrogate, backend)
        assert num_steps is not None
        self.order = _checked_order(order, num_steps)
        if not 0 <= lambda_ <= 1:
            raise UserError(f"lambda_ is from 0 (no mask) to 1 (masked), got {lambda_}")
        self.weight = uniform_weight(num_steps, num_steps)
        self.bias = nn.Parameter(torch.full((num_steps,), -1.0))
        self.register_buffer("lambda_", torch.tensor(float(lambda_)))
        band = torch.ones(num_steps, num_steps).tril().triu(1 - self.order)
        self.register_buffer("mask", band, persistent=False)

    @property
    def causal(self) -> bool:
        return bool(self.lambda_ >= 1)

    def on_epoch_start(self, epoch: int, max_epochs: int) -> None:
        self.lambda_.fill_(1.0 if max_epochs <= 1 else min(1.0, 8 * epoch / (max_epochs - 1)))

    def settled_epoch(self, max_epochs: int) -> int:
        return math.ceil((max_epochs - 1) / 8)

    def masked_weight(self) -> Tensor:
        """W * M `[T, T]`."""
        return self.weight * (self.lambda_ * self.mask + (1 - self.lambda_))

    def _membrane_and_spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        form = psn_reference if self.kernel(len(x), x.device) == "reference" else product_over_time
        h = form(x, self.masked_weight().to(x.dtype), self.bias.to(x.dtype))
        return h, self._fire(h)

    def _fused(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        # To ask a GPU or a traced graph for lambda would stop it.
        settled = x.is_cpu and not torch.compiler.is_compiling() and self.lambda_.item() >= 1
        weight = self.weight * self.mask if settled else self.masked_weight()
        return fused_product(self, x, weight, self.bias, membrane, self.order if settled else 0)

    def _too_long(self, num_steps: int, device: torch.device) -> str | None:
        return too_long_product(num_steps, device)

    def _advance(self, x: Tensor, state: State) -> Tensor:
        seen, start, stop = with_past(x, state, self.order - 1)
        weight = self.masked_weight()[start:stop, stop - len(seen) : stop]
        return self._fire(product_over_time(seen, weight.to(x.dtype), self.bias[start:stop].to(x.dtype)))

    def operations(self, num_steps: int) -> Operations:
        """The products within the mask of the last epochs (all T x T before), the bias, and the kept inputs."""
        products = products_in_band(num_steps, self.order) if self.causal else num_steps**2
        return buffered(products, num_steps, self.order if self.causal else num_steps)

    def extra_repr(self) -> str:
        return f"order={self.order}, {super().extra_repr()}"


class SlidingPSN(Neuron):
    """PSN with one kernel for all steps: a causal filter over the last `order` inputs.

        h[t] = sum_{i<k} w_i x[t-k+1+i] + b,   x[t] = 0 before the start
        s[t] = 1[h[t] >= 0]

    `weight` [k]: learned; init exponential (..., 1/4, 1/2, 1) or kaiming, U(-1/sqrt k, 1/sqrt k). `bias` []: learned,
    starts at -1. order: k, null for T.
    Cost: O(k T) as a filter (`fused`, `fir`), O(T^2) as a product with the banded matrix (`band`), which is faster than
    `fir` for a long kernel on a short sequence.
    Source: Fang et al., NeurIPS 2023, arXiv 2304.12760.
    Differences: exponential on CIFAR10-DVS; the released sequential-CIFAR code starts with kaiming, but its logged runs
    are older than that flag.
    Raises UserError for an order below 1 or above num_steps, an unknown init, or neither order nor num_steps.
    """

    backends = ("fused", "fir", "band", "reference")

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        order: PositiveInt | None = None,
        init: Literal["exponential", "kaiming"] = "exponential",
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "fused", "fir", "band", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, 0.0, surrogate, backend)
        self.order = _checked_order(order, num_steps)
        if init not in ("exponential", "kaiming"):
            raise UserError(f"init is exponential or kaiming, got {init!r}")
        exponential = nn.Parameter(2.0 ** torch.arange(1 - self.order, 1))
        self.weight = exponential if init == "exponential" else uniform_weight(self.order)
        self.bias = nn.Parameter(torch.tensor(-1.0))

    def band(self, num_steps: int) -> Tensor:
        """The kernel as a banded matrix `[T, T]`."""
        t = torch.arange(num_steps, device=self.weight.device)
        lag = t[:, None] - t[None, :]
        inside = (lag >= 0) & (lag < self.order)
        return self.weight[(self.order - 1 - lag).clamp(0, self.order - 1)] * inside

    def _membrane_and_spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kernel = self.kernel(len(x), x.device)
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        if kernel == "fir":
            h = fir(x, weight, bias)
        else:
            form = psn_reference if kernel == "reference" else product_over_time
            h = form(x, self.band(len(x)).to(x.dtype), bias.expand(len(x)))
        return h, self._fire(h)

    def _fused(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        code, alpha, learned = self._surrogate(x)
        tensors = [x, wide(self.weight, x), wide(self.bias, x), *([] if membrane else learned)]
        return ops.fused("filter", tensors, Filter(membrane, code, alpha))[0]

    def _advance(self, x: Tensor, state: State) -> Tensor:
        seen, _, _ = with_past(x, state, self.order - 1)
        return self._fire(fir(seen, self.weight.to(x.dtype), self.bias.to(x.dtype))[-len(x) :])

    def _fastest(self, num_steps: int, device: torch.device) -> str:
        few = 0 if device.type == "cuda" else 2
        return "band" if num_steps <= 256 and self.order > few and num_steps <= 8 * self.order else "fir"

    def operations(self, num_steps: int) -> Operations:
        """The products with inputs that there are, the bias, and the kept inputs."""
        return buffered(products_in_band(num_steps, self.order), num_steps, self.order)

    def extra_repr(self) -> str:
        return f"order={self.order}, {super().extra_repr()}"


def fir_reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """h[t] = sum_lag weight[k-1-lag] x[t-lag] + bias: x, h `[T, B, *]`, weight `[k]`, bias []."""
    h = x * weight[-1] + bias
    for lag in range(1, min(len(weight), len(x))):
        h = h + torch.cat([torch.zeros_like(x[:lag]), x[:-lag]]) * weight[-1 - lag]
    return h


def fir(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same, written to its output in place; torch.compile, which would lose that gradient, takes the reference."""
    if torch.compiler.is_compiling():
        return fir_reference(x, weight, bias)
    h: Tensor = _Fir.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return h


class _Fir(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        h = x * weight[-1] + bias
        for lag in range(1, min(len(weight), len(x))):
            h[lag:].addcmul_(x[:-lag], weight[-1 - lag])
        return h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (g,) = gradients
        x, weight = ctx.saved_tensors
        to_x = g * weight[-1]
        to_weight = torch.zeros_like(weight)
        to_weight[-1] = (g * x).sum()
        for lag in range(1, min(len(weight), len(x))):
            to_x[:-lag].addcmul_(g[lag:], weight[-1 - lag])
            to_weight[-1 - lag] = (g[lag:] * x[:-lag]).sum()
        return to_x, to_weight, g.sum()


def with_past(x: Tensor, state: State, keep: int) -> tuple[Tensor, int, int]:
    """A chunk with at most `keep` earlier inputs before it, and its first and last step; the state keeps the next's."""
    seen = torch.cat([state["inputs"], x]) if "inputs" in state else x
    state["inputs"] = seen[max(0, len(seen) - keep) :]
    return seen, state["step"], state["step"] + len(x)


def products_in_band(num_steps: int, order: int) -> int:
    """Products of a causal kernel of this order over T steps, x[<0] left out."""
    return sum(min(t + 1, order) for t in range(num_steps))


def _checked_order(order: int | None, num_steps: int | None) -> int:
    if order is None:
        if num_steps is None:
            raise UserError("give order, or num_steps for an order of T")
        return num_steps
    if order < 1 or (num_steps is not None and order > num_steps):
        raise UserError(f"order is from 1 to T{'' if num_steps is None else f' = {num_steps}'}, got {order}")
    return order
