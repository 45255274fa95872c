"""Integrate-and-fire neurons, step by step: the baselines of every claim; and the LIF without reset, in parallel.

Shapes: x, h (membrane), spikes `[T, B, *]`; v `[B, *]`, the membrane after reset.
"""

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from snnrepro.errors import UserError, require_positive
from snnrepro.neurons.kernels import ops
from snnrepro.neurons.kernels.families import HARD, NONE, SOFT, Resetting
from snnrepro.neurons.neuron import Neuron, Operations, State, check_tau, wide
from snnrepro.neurons.scan import exponential_scan, exponential_scan_dense, scan_or_dense
from snnrepro.neurons.stepped import SteppedNeuron, charge, check_reset, reset_membrane
from snnrepro.neurons.surrogate import SurrogateSpec
from snnrepro.types import AboveOne, AtLeastOne, PositiveFloat, Reset

RESETS = {"soft": SOFT, "hard": HARD, "none": NONE}


def in_one_pass(
    neuron: Neuron, x: Tensor, membrane: bool, leak: Tensor, reset: str, decay_input: bool, rest: float = 0.0,
    v_reset: float = 0.0, detach: bool = False,
) -> Tensor:  # fmt: skip
    """The loop of charge, fire and reset as one fused kernel; leak `[1]` or `[F]`."""
    assert isinstance(neuron.v_threshold, float | int)
    code, alpha, learned = neuron._surrogate(x)
    settings = Resetting(
        membrane, code, alpha, neuron.v_threshold, not neuron.fires_at_threshold, RESETS[reset], rest, v_reset, detach,
        decay_input,
    )  # fmt: skip
    return ops.fused("resetting", [x, leak, *learned], settings)[0]


class _Resetting(SteppedNeuron):
    """The loop of charge, fire and reset; subclasses give `_charge`, and `_leak` where a kernel does the same."""

    backends: ClassVar[tuple[str, ...]] = ("fused", "reference")

    def __init__(
        self,
        num_steps: int | None,
        num_features: int | None,
        v_threshold: float,
        reset: str,
        v_reset: float,
        detach_reset: bool,
        surrogate: SurrogateSpec,
        backend: str,
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, surrogate, backend)
        require_positive(v_threshold=v_threshold)
        check_reset(reset)
        self.reset = reset
        self.v_reset = v_reset
        self.detach_reset = detach_reset

    @property
    def _rest(self) -> float:
        return self.v_reset if self.reset == "hard" else 0.0

    decay_input: bool

    def _charge(self, x: Tensor, v: Tensor | float, constants: Any) -> Tensor:
        raise NotImplementedError

    def _leak(self, x: Tensor) -> Tensor:
        """1 / tau `[1]`, at least in fp32."""
        raise NotImplementedError

    def _fused(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        return in_one_pass(
            self, x, membrane, self._leak(x), self.reset, self.decay_input, self._rest, self.v_reset, self.detach_reset
        )

    def _drop(self) -> float | Tensor:
        """What a soft reset subtracts."""
        return self.v_threshold

    def _before_reset(self, h: Tensor) -> Tensor:
        return h

    def _update(self, x: Tensor, state: State, constants: Any) -> tuple[Tensor, Tensor]:
        h = self._charge(x, state.get("v", self._rest), constants)
        spikes = self._fire(h)
        s = spikes.detach() if self.detach_reset else spikes
        state["v"] = reset_membrane(self._before_reset(h), s, self.reset, self._drop(), self.v_reset)
        return h, spikes

    def operations(self, num_steps: int) -> Operations:
        """A LIF's step: one MAC for leak and input, one AC more where the input decays too; a reset at most one AC."""
        acs = num_steps * (int(self.decay_input) + int(self.reset == "soft"))
        return Operations(num_steps, acs, state_bytes=4)

    def extra_repr(self) -> str:
        return f"reset={self.reset}, {super().extra_repr()}"


class IF(_Resetting):
    """Integrate-and-fire: no leak.

        h[t] = v[t-1] + x[t]
        s[t] = 1[h[t] >= v_threshold]
        v[t] = h[t] - s[t] v_threshold (soft), v_reset where s[t] = 1 (hard), h[t] (none)

    detach_reset: no gradient through the reset.
    Cost: O(T), sequential.
    Source: the limit of the LIF for tau to infinity, input not scaled; spikingjelly's IFNode.
    Raises UserError for v_threshold <= 0 or an unknown reset.
    """

    decay_input = False

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        v_threshold: PositiveFloat = 1.0,
        reset: Reset = "soft",
        v_reset: float = 0.0,
        detach_reset: bool = True,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "fused", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, reset, v_reset, detach_reset, surrogate, backend)

    def _charge(self, x: Tensor, v: Tensor | float, constants: None) -> Tensor:
        return v + x

    def _leak(self, x: Tensor) -> Tensor:
        return ops.constant(0.0, x)

    def operations(self, num_steps: int) -> Operations:
        """A step: one AC for the input, at most one for the reset."""
        return Operations(0, num_steps * (1 + int(self.reset == "soft")), state_bytes=4)


class LIF(_Resetting):
    """Leaky integrate-and-fire, the baseline of every claim.

        h[t] = v[t-1] - (v[t-1] - v_rest) / tau + x[t]   (x[t] / tau where decay_input)
        s[t] = 1[h[t] >= v_threshold]
        v[t] = h[t] - s[t] v_threshold (soft), v_reset where s[t] = 1 (hard), h[t] (none)

    tau: membrane time constant in steps, at least 1. v_rest is v_reset for a hard reset, else 0. detach_reset: no
    gradient through the reset.
    Cost: O(T), sequential.
    Source: the baselines of PSN, arXiv 2304.12760 (tau 2, soft reset, reset detached), and of MPE-PSN, arXiv
    2409.04978 (hard reset, h = 0.25 v + x: tau 4/3 and decay_input false).
    Raises UserError for tau < 1, v_threshold <= 0 or an unknown reset.
    """

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        tau: AtLeastOne = 2.0,
        v_threshold: PositiveFloat = 1.0,
        reset: Reset = "soft",
        v_reset: float = 0.0,
        detach_reset: bool = True,
        decay_input: bool = True,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "fused", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, reset, v_reset, detach_reset, surrogate, backend)
        self.tau = check_tau(tau)
        self.decay_input = decay_input

    def _charge(self, x: Tensor, v: Tensor | float, constants: None) -> Tensor:
        return charge(x, v, 1 / self.tau, self._rest, self.decay_input)

    def _leak(self, x: Tensor) -> Tensor:
        return ops.constant(1 / self.tau, x)

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, {super().extra_repr()}"


class PLIF(_Resetting):
    """Parametric LIF: one learned time constant for the whole layer.

        as the LIF, with sigmoid(w) in place of 1 / tau

    `w` []: learned, starts where sigmoid(w) = 1 / tau.
    Cost: O(T), sequential.
    Source: Fang et al., ICCV 2021, arXiv 2007.05785; as a baseline of PSN, arXiv 2304.12760: tau 2, soft reset,
    detached.
    Raises UserError for tau <= 1, v_threshold <= 0 or an unknown reset.
    """

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        tau: AboveOne = 2.0,
        v_threshold: PositiveFloat = 1.0,
        reset: Reset = "soft",
        v_reset: float = 0.0,
        detach_reset: bool = True,
        decay_input: bool = True,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "fused", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, reset, v_reset, detach_reset, surrogate, backend)
        if not tau > 1:
            raise UserError(f"PLIF's decay is a sigmoid, so tau starts above 1, got {tau}")
        self.decay_input = decay_input
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1)))

    def _constants(self, step: Tensor) -> Tensor:
        return torch.sigmoid(self.w.to(step.dtype))

    def _leak(self, x: Tensor) -> Tensor:
        return torch.sigmoid(wide(self.w, x))

    def _charge(self, x: Tensor, v: Tensor | float, constants: Tensor) -> Tensor:
        return charge(x, v, constants, self._rest, self.decay_input)


class KLIF(_Resetting):
    """LIF whose membrane is scaled by a learned k and rectified before it fires.

        F[t] = relu(k (v[t-1] - (v[t-1] - v_rest) / tau + x[t]))   (x[t] / tau where decay_input)
        s[t] = 1[F[t] >= v_threshold]
        v[t] = F[t] - s[t] v_threshold (soft), v_reset where s[t] = 1 (hard), F[t] (none)

    `k` []: learned, starts at 1. scale_reset: F and v_threshold are divided by k in the reset. The membrane is F.
    Cost: O(T), sequential.
    Source: arXiv 2302.09238; as a baseline of PSN, arXiv 2304.12760: soft reset, not detached (detached it does not
    converge there).
    Raises UserError for tau < 1, v_threshold <= 0 or an unknown reset.
    """

    backends = ("reference",)

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        tau: AtLeastOne = 2.0,
        v_threshold: PositiveFloat = 1.0,
        reset: Reset = "soft",
        v_reset: float = 0.0,
        detach_reset: bool = False,
        decay_input: bool = True,
        scale_reset: bool = False,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, reset, v_reset, detach_reset, surrogate, backend)
        self.tau = check_tau(tau)
        self.decay_input = decay_input
        self.scale_reset = scale_reset
        self.k = nn.Parameter(torch.tensor(1.0))

    def _charge(self, x: Tensor, v: Tensor | float, constants: None) -> Tensor:
        return torch.relu(self.k.to(x.dtype) * charge(x, v, 1 / self.tau, self._rest, self.decay_input))

    def _before_reset(self, h: Tensor) -> Tensor:
        return h / self.k.to(h.dtype) if self.scale_reset else h

    def _drop(self) -> float | Tensor:
        return self.v_threshold / self.k if self.scale_reset else self.v_threshold

    def operations(self, num_steps: int) -> Operations:
        """Those of the LIF and one product with k; one more with 1 / k where the reset is scaled."""
        return super().operations(num_steps)._replace(macs=num_steps * (2 + int(self.scale_reset)))

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, {super().extra_repr()}"


class LIFNoReset(Neuron):
    """LIF without reset: a leaky integrator with a threshold, and so an exponential kernel over time.

        h[t] = (1 - 1/tau) h[t-1] + x[t]   (x[t] / tau where decay_input)
        s[t] = 1[h[t] >= v_threshold]

    tau: time constant in steps, at least 1. Nothing is learned.
    Cost: O(T) as a scan (`fused`, `torch`), O(T^2) as a product (`dense`).
    Source: the ablation of PSN, arXiv 2304.12760: tau 2, v_threshold 1.
    Raises UserError for tau < 1 or v_threshold <= 0.
    """

    backends = ("fused", "torch", "dense", "reference")

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        tau: AtLeastOne = 2.0,
        v_threshold: PositiveFloat = 1.0,
        decay_input: bool = True,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "fused", "torch", "dense", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, surrogate, backend)
        require_positive(v_threshold=v_threshold)
        self.tau = check_tau(tau)
        self.decay_input = decay_input

    @property
    def _gain(self) -> float:
        return 1 / self.tau if self.decay_input else 1.0

    def _membrane_and_spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kernel, decay = self.kernel(len(x), x.device), 1 - 1 / self.tau
        if kernel == "torch":
            h = exponential_scan(x, decay, self._gain)
        elif kernel == "dense":
            h = exponential_scan_dense(x, decay, self._gain)
        else:
            h = lif_no_reset_reference(x, self.tau, self.decay_input)
        return h, self._fire(h)

    def _fused(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        return in_one_pass(self, x, membrane, ops.constant(1 / self.tau, x), "none", self.decay_input)

    def _advance(self, x: Tensor, state: State) -> Tensor:
        h = exponential_scan(x, 1 - 1 / self.tau, self._gain, state.get("h"))
        state["h"] = h[-1]
        return self._fire(h)

    def _fastest(self, num_steps: int, device: torch.device) -> str:
        return scan_or_dense(num_steps, device)

    def operations(self, num_steps: int) -> Operations:
        """A step: one MAC for leak and input, one AC more where the input decays too."""
        return Operations(num_steps, num_steps * int(self.decay_input), state_bytes=4)

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, {super().extra_repr()}"


def lif_no_reset_reference(x: Tensor, tau: float, decay_input: bool) -> Tensor:
    """h `[T, B, *]`, the LIF's loop with nothing after firing."""
    h: Tensor | float = 0.0
    membrane = []
    for step in x:
        h = charge(step, h, 1 / tau, 0.0, decay_input)
        membrane.append(h)
    return torch.stack(membrane)
