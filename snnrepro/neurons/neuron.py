"""The contract of every neuron: input current `[T, B, *]` -> spikes `[T, B, *]`.

T time-steps, B samples, * any trailing shape. `h` is the membrane potential just before firing.
"""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snnrepro.errors import NonCausalError, UserError, did_you_mean, require_positive
from snnrepro.neurons.surrogate import SurrogateSpec, make_surrogate

State = dict[str, Any]


class Operations(NamedTuple):
    """A neuron's own arithmetic, for one neuron and one sample over all its time-steps.

    Only useful work is counted (k products per output for an order-k kernel, not the T x T of its matrix).
    Comparisons with the threshold are not counted: every neuron makes T of them.
    """

    macs: float  # multiply-accumulates
    acs: float  # additions
    state_bytes: int  # what must be kept between time-steps, at 4 bytes a value
    function_evaluations: float = 0.0  # sigmoids, exponentials: counted, but no cost model prices them yet


class Neuron(nn.Module):
    """Base of all neurons; subclasses give `_membrane_and_spikes`, and `_step` where they are causal.

    num_steps: T, needed by neurons that fix it. num_features: size of dim 2, needed by channel-wise neurons.
    backend: `auto`, `torch` (the parallel form) or `reference` (the readable specification).
    Half-precision input is computed in fp32 and returned in its own dtype, also under autocast.
    NaN input gives a NaN membrane and no spike; a dense T x T form spreads it over all steps of its neuron.
    """

    causal: bool = True  # spikes at t depend on inputs up to t only
    fixed_length: bool = False  # the weights fix T
    stochastic: bool = False
    fires_at_threshold: bool = True  # h >= v_threshold, else h > v_threshold
    backends: ClassVar[tuple[str, ...]] = ("torch", "reference")

    def __init__(
        self,
        num_steps: int | None,
        num_features: int | None,
        v_threshold: float,
        surrogate: SurrogateSpec,
        backend: str,
    ) -> None:
        super().__init__()
        if num_steps is not None:
            require_positive(num_steps=num_steps)
        if self.fixed_length and num_steps is None:
            raise UserError(f"{type(self).__name__} has weights over time: give num_steps")
        if backend not in ("auto", *self.backends):
            known = ["auto", *self.backends]
            raise UserError(f"{type(self).__name__} has no backend {backend!r}{did_you_mean(backend, known)}")
        self.num_steps = num_steps
        self.num_features = num_features
        self.v_threshold = v_threshold
        self.surrogate = make_surrogate(surrogate)
        self.backend = backend

    @property
    def kernel(self) -> str:
        """The form that really runs, as the run record names it."""
        return self.backends[0] if self.backend == "auto" else self.backend

    def forward(self, x: Tensor) -> Tensor:
        """Spikes `[T, B, *]` in {0, 1}, in the dtype of x. Raises UserError for a wrong T or dtype."""
        return self._in_full_precision(x)[1]

    def membrane(self, x: Tensor) -> Tensor:
        """The membrane potential just before firing, `[T, B, *]`."""
        return self._in_full_precision(x)[0]

    def stream(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Spikes of a chunk `[t, B, *]`, t >= 1, and the state to pass on with the next chunk.

        Any split of a sequence gives the spikes that `forward` gives for the whole. Raises NonCausalError for a neuron
        that looks ahead, UserError for a state that does not fit x.
        """
        if not self.causal:
            raise NonCausalError(
                f"{type(self).__name__} uses later inputs and cannot run step by step; take a causal neuron (psu, lif)"
            )
        self._check_input(x)
        state = dict(state) if state else {}
        name = type(self).__name__
        if state.setdefault("neuron", name) != name:
            raise UserError(f"state is of a {state['neuron']}, this is a {name}")
        for kept in state.values():
            if isinstance(kept, Tensor) and kept.shape != x.shape[1:]:
                raise UserError(f"state is for {tuple(kept.shape)}, the input step is {tuple(x.shape[1:])}")
        with torch.autocast(x.device.type, enabled=False):
            current = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
            spikes = torch.stack([self._step(step, state) for step in current])
        return spikes.to(x.dtype), state

    def operations(self, num_steps: int) -> Operations:
        """The neuron's own arithmetic over `num_steps`, per neuron and sample."""
        raise NotImplementedError

    def _membrane_and_spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`[T, B, *]` in at least fp32 -> (membrane, spikes)."""
        raise NotImplementedError

    def _step(self, x: Tensor, state: State) -> Tensor:
        """One time-step `[B, *]` -> spikes `[B, *]`; `state` (no tensors at the start) is updated in place."""
        raise NotImplementedError

    def _fire(self, h: Tensor) -> Tensor:
        spikes: Tensor = self.surrogate(h - self.v_threshold, strict=not self.fires_at_threshold)
        return spikes

    def _in_full_precision(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self._check_input(x)
        if self.fixed_length and x.shape[0] != self.num_steps:
            raise UserError(
                f"{type(self).__name__} was built for T = {self.num_steps} and got T = {x.shape[0]}; "
                "neurons that take any length: lif, psu"
            )
        with torch.autocast(x.device.type, enabled=False):
            half = x.dtype in (torch.float16, torch.bfloat16)
            h, spikes = self._membrane_and_spikes(x.float() if half else x)
        return h.to(x.dtype), spikes.to(x.dtype)

    def _check_input(self, x: Tensor) -> None:
        if not x.is_floating_point():
            raise UserError(f"{type(self).__name__} takes real floating-point current, got {x.dtype}: cast it first")
        if x.ndim < 2 or x.shape[0] < 1:
            raise UserError(f"{type(self).__name__} takes [T, B, *] with T >= 1, got shape {tuple(x.shape)}")

    def extra_repr(self) -> str:
        steps = f"num_steps={self.num_steps}, " if self.fixed_length else ""
        return f"{steps}v_threshold={self.v_threshold:g}, backend={self.backend}"
