"""Parallel Spiking Unit: the reset is estimated from the sigmoid of the membrane without reset.

Shapes: x, D, H `[T, B, *]`; A, R `[T, T]`.
    A[i, j] = tau^-(i-j+1) for j <= i        D = A X
    R[i, j] = -tau^-(i-j)  for j <  i        H = D + v_threshold R sigmoid(D),  S = 1[H > v_threshold]
Source: Li et al., IJCNN 2024, arXiv 2402.00449.
"""

from typing import Literal

import torch
from torch import Tensor

from snnrepro.errors import UserError, require_positive
from snnrepro.neurons.neuron import Neuron, Operations, State
from snnrepro.neurons.surrogate import SurrogateSpec
from snnrepro.types import AtLeastOne, PositiveFloat


def psu_reference(x: Tensor, tau: float, v_threshold: float) -> Tensor:
    """H `[T, B, *]`, by the paper's sums written out."""
    num_steps = x.shape[0]
    d = [sum(tau ** -(i - j + 1) * x[j] for j in range(i + 1)) for i in range(num_steps)]
    released = [torch.sigmoid(torch.as_tensor(step)) for step in d]
    h = [d[i] - v_threshold * sum(tau ** -(i - j) * released[j] for j in range(i)) for i in range(num_steps)]
    return torch.stack([torch.as_tensor(step) for step in h])


def psu_kernels(num_steps: int, tau: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """A and R `[T, T]`, in the dtype and on the device of `like`."""
    t = torch.arange(num_steps, device=like.device)
    lag = t[:, None] - t[None, :]
    # No negative lag is raised to a power: tau^|lag| would overflow at long T.
    decay = torch.pow(torch.tensor(1 / tau, dtype=like.dtype, device=like.device), lag.clamp(min=0))
    return decay * (lag >= 0) / tau, -decay * (lag > 0)


class PSU(Neuron):
    """Parallel Spiking Unit; nothing is learned but, where asked, the surrogate's alpha. Fires where h > v_threshold.

    tau: decay constant, at least 1 (the paper's 2: then A X + v_threshold R S with the true spikes S is the soft-reset
    LIF). Causal, any length. Cost O(T^2) in this dense form. Raises UserError for tau < 1 or v_threshold <= 0.
    """

    fires_at_threshold = False

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        tau: AtLeastOne = 2.0,
        v_threshold: PositiveFloat = 0.5,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "torch", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, surrogate, backend)
        require_positive(v_threshold=v_threshold)
        if not tau >= 1:
            raise UserError(f"tau below 1 makes the PSU's kernels grow with time, got {tau}: take tau >= 1")
        self.tau = tau

    def _membrane_and_spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.kernel == "reference":
            h = psu_reference(x, self.tau, self.v_threshold)
        else:
            a, r = psu_kernels(x.shape[0], self.tau, x)
            d = a @ x.flatten(1)
            h = torch.addmm(d, r, torch.sigmoid(d), alpha=self.v_threshold).view(x.shape)
        return h, self._fire(h)

    def _step(self, x: Tensor, state: State) -> Tensor:
        """Both kernels are exponential, so two running sums replace them."""
        started = "d" in state
        d = (state["d"] + x) / self.tau if started else x / self.tau
        reset = (state["reset"] + torch.sigmoid(state["d"])) / self.tau if started else torch.zeros_like(x)
        state.update(d=d, reset=reset)
        return self._fire(d - self.v_threshold * reset)

    def operations(self, num_steps: int) -> Operations:
        """A step: one MAC for each of the two running sums, one for h; one sigmoid."""
        return Operations(3 * num_steps, 0, state_bytes=8, function_evaluations=num_steps)

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, {super().extra_repr()}"
