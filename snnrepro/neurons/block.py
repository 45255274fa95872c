"""The parallel single-spike Block model, and the two step-by-step loops that its paper compares it with.

Shapes: x, V (membrane), F, z, spikes `[T, B, F, *]`; beta `[F]`, used within [0, 1].
Source: Taylor, King, Harper, arXiv 2205.15286; two versions under one number.
"""

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from snnrepro.errors import UserError, require_positive
from snnrepro.neurons.kernels import ops
from snnrepro.neurons.kernels.families import FirstCrossing
from snnrepro.neurons.lif import in_one_pass
from snnrepro.neurons.neuron import Neuron, Operations, State, per_feature, wide
from snnrepro.neurons.scan import exponential_scan
from snnrepro.neurons.stepped import SteppedNeuron
from snnrepro.neurons.surrogate import SurrogateSpec
from snnrepro.types import Fraction, PositiveFloat

# Where beta starts in the paper's hidden layers; its readouts start at exp(-1/20), its conv nets at 1.
HIDDEN_BETA = math.exp(-1 / 10)


def _beta(num_features: int, beta: float, learn_beta: bool) -> nn.Parameter:
    if not 0 <= beta <= 1:
        raise UserError(f"beta is a decay factor from 0 to 1, got {beta}")
    return nn.Parameter(torch.full((num_features,), float(beta)), requires_grad=learn_beta)


def block_membrane_reference(x: Tensor, beta: Tensor) -> Tensor:
    """V `[T, B, F, *]`, V[t] = beta V[t-1] + x[t]; beta broadcasts to a step."""
    membrane = [x[0]]
    for step in x[1:]:
        membrane.append(beta * membrane[-1] + step)
    return torch.stack(membrane)


def first_crossing_reference(crossings: Tensor, version: str) -> Tensor:
    """Crossings F `[T, ...]` in {0, 1} -> 1 at the first of them, by the papers' sum and selection.

    z[t] = sum_{k<=t} (t-k+1) F[k] is 1 at the first crossing only. v2 keeps z where it is 1, and every z passes its
    gradient; v1 applies g(z) = relu(z (1 - z) + 1) z, whose gradient is 1 where z is 0 and 0 elsewhere.
    """
    lag = torch.arange(len(crossings), device=crossings.device)
    kernel = (lag[:, None] - lag[None, :] + 1).clamp(min=0).to(crossings)
    z = torch.tensordot(kernel, crossings, 1)
    selected = torch.relu(z * (1 - z) + 1) * z if version == "v1" else z - torch.where(z == 1, 0, z).detach()
    return torch.as_tensor(selected)


class _FirstCrossing(torch.autograd.Function):
    """The same in linear time: the sum over z's kernel is two running sums, backward from the last step."""

    @staticmethod
    def forward(ctx: Any, crossings: Tensor, before: Tensor | None, version: str) -> Tensor:
        count = crossings.cumsum(0)
        if before is not None:
            count += before
        ctx.version = version
        if version == "v1":
            ctx.save_for_backward(count == 0)
        return crossings * (count == 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (to_z,) = gradients
        if ctx.version == "v1":
            to_z = to_z * ctx.saved_tensors[0]
        return to_z.flip(0).cumsum(0).cumsum(0).flip(0), None, None


class Block(Neuron):
    """At most one spike, at the first crossing of a membrane without reset.

        V[t] = sum_{k<=t} beta^(t-k) x[k]
        F[t] = 1[V[t] > v_threshold]
        z[t] = sum_{k<=t} (t-k+1) F[k]
        s[t] = 1[z[t] = 1]: the first crossing

    `beta` [F]: learned where learn_beta, used within [0, 1]; starts at exp(-1/10), and at 1 in the paper's conv nets.
    version v2: the gradient passes from s to every z unchanged. v1: s = relu(z (1 - z) + 1) z, so that it passes where
    z = 0 only; its surrogate's slope is 100, v2's 10.
    Cost: O(T) as a scan and two running sums.
    Source: Taylor, King, Harper, arXiv 2205.15286.
    Differences: v1's code also trains the kernel of ones that z is summed with, perhaps unintended; here it stays.
    Raises UserError for a missing num_features, beta outside [0, 1], v_threshold <= 0 or an unknown version.
    """

    fires_at_threshold = False
    per_feature = True
    backends = ("fused", "torch", "reference")

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        version: Literal["v1", "v2"] = "v2",
        beta: Fraction = HIDDEN_BETA,
        learn_beta: bool = True,
        v_threshold: PositiveFloat = 1.0,
        surrogate: SurrogateSpec = "fast_sigmoid",
        backend: Literal["auto", "fused", "torch", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, surrogate, backend)
        assert num_features is not None
        require_positive(v_threshold=v_threshold)
        if version not in ("v1", "v2"):
            raise UserError(f"version is v1 or v2, got {version!r}")
        self.version = version
        self.beta = _beta(num_features, beta, learn_beta)

    def _membrane_and_spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        beta = per_feature(self.beta.clamp(0, 1), x[0])
        if self.kernel(len(x), x.device) == "reference":
            v = block_membrane_reference(x, beta)
            return v, first_crossing_reference(self._fire(v), self.version)
        v = exponential_scan(x, beta)
        return v, self._first(self._fire(v), None)

    def _fused(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        assert isinstance(self.v_threshold, float | int)
        code, alpha, learned = self._surrogate(x)
        settings = FirstCrossing(membrane, code, alpha, self.v_threshold, self.version == "v1")
        return ops.fused("first_crossing", [x, wide(self.beta.clamp(0, 1), x), *learned], settings)[0]

    def _first(self, crossings: Tensor, before: Tensor | None) -> Tensor:
        spikes: Tensor = _FirstCrossing.apply(crossings, before, self.version)  # type: ignore[no-untyped-call]
        return spikes

    def _advance(self, x: Tensor, state: State) -> Tensor:
        v = exponential_scan(x, per_feature(self.beta.clamp(0, 1), x[0]), 1.0, state.get("v"))
        crossings, before = self._fire(v), state.get("crossings")
        seen = crossings.detach().sum(0)
        state.update(v=v[-1], crossings=seen if before is None else before + seen)
        return self._first(crossings, before)

    def operations(self, num_steps: int) -> Operations:
        """A step: one MAC for V; V and whether it has fired are kept."""
        return Operations(num_steps, 0, state_bytes=8)

    def extra_repr(self) -> str:
        return f"version={self.version}, {super().extra_repr()}"


class LIFMultiSpike(SteppedNeuron):
    """The Block paper's multi-spike baseline: a leaky integrator, step by step, with a decay for each feature.

        V[t] = beta v[t-1] + x[t]
        s[t] = 1[V[t] > v_threshold]
        v[t] = V[t] - v_threshold s[t]

    `beta` [F]: learned where learn_beta, used within [0, 1]. The reset is not detached.
    Cost: O(T), sequential.
    Source: Taylor, King, Harper, arXiv 2205.15286, and its code.
    Differences: the first version's code has one beta for a layer, which is not learned.
    Raises UserError for a missing num_features, beta outside [0, 1] or v_threshold <= 0.
    """

    fires_at_threshold = False
    per_feature = True
    backends: ClassVar[tuple[str, ...]] = ("fused", "reference")

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        beta: Fraction = HIDDEN_BETA,
        learn_beta: bool = True,
        v_threshold: PositiveFloat = 1.0,
        surrogate: SurrogateSpec = "fast_sigmoid",
        backend: Literal["auto", "fused", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, surrogate, backend)
        assert num_features is not None
        require_positive(v_threshold=v_threshold)
        self.beta = _beta(num_features, beta, learn_beta)

    def _fused(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        return in_one_pass(self, x, membrane, 1 - wide(self.beta.clamp(0, 1), x), "soft", decay_input=False)

    def _constants(self, step: Tensor) -> Tensor:
        return per_feature(self.beta.clamp(0, 1), step)

    def _update(self, x: Tensor, state: State, constants: Tensor) -> tuple[Tensor, Tensor]:
        h = constants * state["v"] + x if "v" in state else x
        spikes = self._fire(h)
        state["v"] = h - spikes * self.v_threshold
        return h, spikes

    def operations(self, num_steps: int) -> Operations:
        """A step: one MAC for V, one AC for the reset; V is kept."""
        return Operations(num_steps, num_steps, state_bytes=4)


class LIFSingleSpike(LIFMultiSpike):
    """The Block paper's single-spike baseline: a leaky integrator, step by step, that is silent after its first spike.

        V[t] = beta v[t-1] + x[t], and 0 after the spike
        s[t] = 1[V[t] > v_threshold], and 0 after the spike
        v[t] = V[t] - v_threshold s[t]

    `beta` [F]: learned where learn_beta, used within [0, 1]. The reset is not detached. Fires where the Block does.
    Cost: O(T), sequential.
    Source: Taylor, King, Harper, arXiv 2205.15286, and its code.
    Raises UserError for a missing num_features, beta outside [0, 1] or v_threshold <= 0.
    """

    backends = ("reference",)

    def _update(self, x: Tensor, state: State, constants: Tensor) -> tuple[Tensor, Tensor]:
        fired = state["fired"] if "fired" in state else torch.zeros_like(x)
        charged = constants * state["v"] + x if "v" in state else x
        spikes, h = self._fire(charged) * (1 - fired), charged * (1 - fired)
        # As released: where neither has fired, the maximum passes half of the gradient to each.
        state.update(v=h - spikes * self.v_threshold, fired=torch.maximum(fired, spikes))
        return h, spikes

    def operations(self, num_steps: int) -> Operations:
        """A step: one MAC for V, one AC for the reset; V and whether it has fired are kept."""
        return Operations(num_steps, num_steps, state_bytes=8)
