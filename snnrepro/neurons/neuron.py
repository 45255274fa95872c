"""The contract of every neuron: input current `[T, B, *]` -> spikes `[T, B, *]`.

T time-steps, B samples, * any trailing shape whose first dimension (dim 2) holds the features. `h` is the membrane
potential just before firing.
"""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snnrepro.errors import NonCausalError, UserError, did_you_mean, require_positive
from snnrepro.neurons.kernels import ops
from snnrepro.neurons.surrogate import Surrogate, SurrogateSpec, make_surrogate

State = dict[str, Any]


class Operations(NamedTuple):
    """A neuron's own arithmetic, for one neuron and one sample over all its time-steps.

    Only useful work is counted (k products per output for an order-k kernel, not the T x T of its matrix).
    Comparisons with the threshold are not counted: every neuron makes T of them. Nor is the drawing of noise.
    """

    macs: float  # multiply-accumulates
    acs: float  # additions
    state_bytes: int  # what must be kept between time-steps, at 4 bytes a value
    function_evaluations: float = 0.0  # sigmoids, exponentials: counted, but no cost model prices them
    state_accesses: float | None = None  # values of state read and written; None: all of it, both at every step

    def accesses(self, num_steps: int) -> float:
        """Values of state read and written over `num_steps`."""
        return 2 * self.state_bytes / 4 * num_steps if self.state_accesses is None else self.state_accesses


class Neuron(nn.Module):
    """Base of all neurons; subclasses give `_membrane_and_spikes`, some `_fused`, and `_advance` if they are causal.

    num_steps: T, needed by neurons that fix it. num_features: size of dim 2, needed by neurons with parameters for
    each feature. backend: `auto`, `fused` (one kernel for all steps: numba on the CPU, Triton on CUDA), a form made of
    tensor operations, or `reference` (the readable specification). auto is fused wherever that can run.
    Half-precision input is computed in fp32 and returned in its own dtype, also under autocast.
    NaN input gives a NaN membrane and no spike; a dense T x T form spreads it over all steps of its neuron.
    """

    fixed_length: bool = False  # the weights fix T
    stochastic: bool = False
    fires_at_threshold: bool = True  # h >= threshold, else h > threshold
    per_feature: bool = False  # parameters for each feature, so num_features must be known
    backends: ClassVar[tuple[str, ...]] = ("torch", "reference")

    v_threshold: float | Tensor
    _kernel_follows = False  # whether a class that inherits a fused kernel still computes what that does

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if {"_fused", "_leak"} & cls.__dict__.keys():
            cls._kernel_follows = True
        elif {"_membrane_and_spikes", "_update", "_charge", "_constants"} & cls.__dict__.keys():
            cls._kernel_follows = False

    def __init__(
        self,
        num_steps: int | None,
        num_features: int | None,
        v_threshold: float,
        surrogate: SurrogateSpec,
        backend: str,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if num_steps is not None:
            require_positive(num_steps=num_steps)
        if self.fixed_length and num_steps is None:
            raise UserError(f"{name} has weights over time: give num_steps")
        if self.per_feature:
            if num_features is None:
                raise UserError(f"{name} has parameters for each feature: give num_features")
            require_positive(num_features=num_features)
        if backend not in ("auto", *self.backends):
            known = ["auto", *self.backends]
            raise UserError(f"{name} has no backend {backend!r}{did_you_mean(backend, known)}")
        self.num_steps = num_steps
        self.num_features = num_features
        self.v_threshold = v_threshold
        self.surrogate: nn.Module = make_surrogate(surrogate)
        self.backend = backend

    @property
    def causal(self) -> bool:
        """Whether spikes at t depend on inputs up to t only."""
        return True

    def kernel(self, num_steps: int, device: torch.device) -> str:
        """The form that runs on input of this length and device, as the run record names it."""
        if self.not_fused(num_steps, device) is None:
            return ops.name_of(device)
        return self._fastest(num_steps, device) if self.backend == "auto" else self.backend

    def not_fused(self, num_steps: int, device: torch.device) -> str | None:
        """Why input of this length and device does not go through a fused kernel; None: it does."""
        if "fused" not in self.backends or not self._kernel_follows:
            return "has no fused form"
        if self.backend not in ("auto", "fused"):
            return f"backend is {self.backend}"
        if not isinstance(self.surrogate, Surrogate):
            return "its surrogate is not one of surrogate.py"
        return ops.unserved(device) or self._too_long(num_steps, device)

    def threshold(self, step: Tensor) -> float | Tensor:
        """What the membrane of a step `[B, *]` is compared with: a number, or a tensor that broadcasts to it."""
        return self.v_threshold

    def forward(self, x: Tensor) -> Tensor:
        """Spikes `[T, B, *]` in {0, 1}, in the dtype of x. Raises UserError for a wrong T, dtype or feature count."""
        return self._run(x, False)

    def membrane(self, x: Tensor) -> Tensor:
        """The membrane potential just before firing, `[T, B, *]`."""
        return self._run(x, True)

    def stream(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Spikes of a chunk `[t, B, *]`, t >= 1, and the state to pass on with the next chunk.

        Any split of a sequence gives the spikes that `forward` gives for the whole, up to the rounding of a membrane
        that lies on its threshold. For inference: not every gradient reaches an earlier chunk. Raises NonCausalError
        for a neuron that looks ahead, UserError for a state that does not fit x or a sequence longer than the weights
        allow.
        """
        return self._stream(x, state)

    def operations(self, num_steps: int) -> Operations:
        """The neuron's own arithmetic over `num_steps`, per neuron and sample."""
        raise NotImplementedError

    def on_epoch_start(self, epoch: int, max_epochs: int) -> None:
        """Called by the trainer before each epoch, from 0."""

    def settled_epoch(self, max_epochs: int) -> int:
        """The first epoch, from 0, that trains the neuron as it is meant to be; earlier ones are never the best."""
        return 0

    def auxiliary_loss(self) -> Tensor | None:
        """A scalar to add to the loss of the last training forward; None where the neuron has none."""
        return None

    def _membrane_and_spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`[T, B, *]` in at least fp32 -> (membrane, spikes)."""
        raise NotImplementedError

    def _advance(self, x: Tensor, state: State) -> Tensor:
        """A chunk `[t, B, *]` -> spikes; `state` holds `step`, the steps already seen, and is updated in place."""
        raise NotImplementedError

    def _fused(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        """Spikes, or the membrane, of `[T, B, *]` by a fused kernel, in the dtype of x."""
        raise NotImplementedError

    def _too_long(self, num_steps: int, device: torch.device) -> str | None:
        """Why the kernel does not serve this length."""
        return None

    def _fastest(self, num_steps: int, device: torch.device) -> str:
        """The form that runs where none is fused."""
        return next(form for form in self.backends if form != "fused")

    def _surrogate(self, x: Tensor) -> tuple[int, float, list[Tensor]]:
        """The surrogate as a fused kernel takes it: code, fixed alpha, and the learned one, where there is one."""
        surrogate = self.surrogate
        assert isinstance(surrogate, Surrogate)
        alpha = surrogate.alpha
        return (surrogate.code, 0.0, [wide(alpha, x)]) if isinstance(alpha, Tensor) else (surrogate.code, alpha, [])

    def _fire(self, h: Tensor) -> Tensor:
        spikes: Tensor = self.surrogate(h - self.threshold(h), strict=not self.fires_at_threshold)
        return spikes

    def _run(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        self._check_input(x)
        if self.fixed_length and x.shape[0] != self.num_steps:
            raise UserError(
                f"{type(self).__name__} was built for T = {self.num_steps} and got T = {x.shape[0]}; "
                "neurons that take any length: lif, psu, sliding_psn, mpe_psn, block, spsn"
            )
        half = x.dtype in (torch.float16, torch.bfloat16)
        reason = self.not_fused(len(x), x.device)
        if reason is None and x.is_cuda and x.dtype is torch.float64:
            reason = "the GPU's kernels compute in fp32"
        if reason is None:
            inside = x.float() if half and x.is_cpu else x  # a GPU's kernels read half precision themselves
            return self._fused(inside, membrane, *noise).to(x.dtype)
        if self.backend == "fused":
            raise UserError(f"{type(self).__name__} cannot run fused here: {reason}; backend: auto takes another form")
        with torch.autocast(x.device.type, enabled=False):
            h, spikes = self._unfused(x.float() if half else x, *noise)
        return (h if membrane else spikes).to(x.dtype)

    def _unfused(self, x: Tensor, *noise: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._membrane_and_spikes(x)

    def _stream(self, x: Tensor, state: State | None, *noise: Tensor) -> tuple[Tensor, State]:
        if not self.causal:
            raise NonCausalError(
                f"{type(self).__name__} uses later inputs and cannot run step by step; take a causal neuron "
                "(sliding_psn, psu, lif)"
            )
        self._check_input(x)
        name, shape = type(self).__name__, tuple(x.shape[1:])
        state = dict(state) if state else {"neuron": name, "shape": shape, "step": 0}
        if state["neuron"] != name:
            raise UserError(f"state is of a {state['neuron']}, this is a {name}")
        if state["shape"] != shape:
            raise UserError(f"state is for {state['shape']}, the input step is {shape}")
        end = state["step"] + len(x)
        if self.fixed_length and end > (self.num_steps or 0):
            raise UserError(f"{name} was built for T = {self.num_steps}, this chunk ends at {end}")
        with torch.autocast(x.device.type, enabled=False):
            current = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
            spikes = self._advance(current, state, *noise)
        state["step"] = end
        return spikes.to(x.dtype), state

    def _check_input(self, x: Tensor) -> None:
        name = type(self).__name__
        if not x.is_floating_point():
            raise UserError(f"{name} takes real floating-point current, got {x.dtype}: cast it first")
        if x.ndim < 2 or x.shape[0] < 1:
            raise UserError(f"{name} takes [T, B, *] with T >= 1, got shape {tuple(x.shape)}")
        if self.per_feature and (x.ndim < 3 or x.shape[2] != self.num_features):
            raise UserError(
                f"{name} was built for {self.num_features} features on dim 2, got shape {tuple(x.shape)} [T, B, F, *]"
            )

    def extra_repr(self) -> str:
        steps = f"num_steps={self.num_steps}, " if self.fixed_length else ""
        threshold = f"v_threshold={self.v_threshold:g}, " if isinstance(self.v_threshold, float | int) else ""
        return f"{steps}{threshold}backend={self.backend}"


def wide(parameter: Tensor, x: Tensor) -> Tensor:
    """A parameter in the dtype that x is computed in: fp32, or fp64 with x."""
    dtype = x.dtype if x.dtype.itemsize > 2 else torch.float32
    return parameter if parameter.dtype is dtype else parameter.to(dtype)


def check_tau(tau: float) -> float:
    """Raise UserError for a time constant below 1 step, whose kernel would grow with time; else return it."""
    if not tau >= 1:
        raise UserError(f"tau is a time constant in steps, at least 1, got {tau}")
    return tau


def per_feature(parameter: Tensor, step: Tensor) -> Tensor:
    """A parameter `[F]` as it broadcasts to one time-step `[B, F, *]`, in the step's dtype."""
    return parameter.to(step.dtype).view(-1, *[1] * (step.ndim - 2))
