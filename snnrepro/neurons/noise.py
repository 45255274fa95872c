"""Noise that depends on nothing but (seed, layer, draw, time-step, neuron), so that every form sees the same.

Uniform numbers are hashes of these five (the finaliser of SplitMix64, in 64-bit integers, exact on every device and
under torch.compile). Seed and layer are one saved key, taken from torch's generator when the layer is made, as its
weights are. A draw is one presentation of one batch.
"""

import torch
from torch import Tensor, nn

from snnrepro.errors import UserError
from snnrepro.neurons.neuron import Neuron, State
from snnrepro.neurons.surrogate import SurrogateSpec


def _signed(constant: int) -> int:
    return constant - 2**64 if constant >= 2**63 else constant


_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64: the sign does not spread."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return z ^ _shifted(z, 31)


def uniform(key: Tensor, draw: Tensor, first_step: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Uniform numbers in [0, 1), multiples of 2^-24, of `shape` `[t, B, *]` for steps first_step, first_step + 1, ...

    key, draw: int64 scalars, on the device of the result.
    """
    steps, *rest = shape
    t = torch.arange(first_step, first_step + steps, device=key.device)
    neuron = torch.arange(torch.Size(rest).numel(), device=key.device)
    # Counters enter by xor: inductor (torch 2.11) computes arange times a large constant without wrapping.
    of_step = _mix(_mix(key ^ _mix(draw + 1)) ^ t)
    z = _mix(of_step[:, None] ^ neuron)
    return (_shifted(z, 40).to(dtype) * 2**-24).view(shape)


class StochasticNeuron(Neuron):
    """Base of the neurons that draw noise, uniform in [0, 1), `[T, B, *]`.

    `forward` and the first chunk of `stream` begin a new draw, unless `hold_draw` fixed its number; `membrane` and
    `auxiliary_loss` belong to the last draw. `noise=` replaces the draw. Subclasses give `_membrane_and_spikes` and
    `_advance` with the noise as last argument.
    """

    stochastic = True

    noise_key: Tensor
    draw: Tensor

    def __init__(
        self,
        num_steps: int | None,
        num_features: int | None,
        v_threshold: float,
        surrogate: SurrogateSpec,
        backend: str,
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, surrogate, backend)
        self.register_buffer("noise_key", torch.randint(2**62, ()))
        self.register_buffer("draw", torch.zeros((), dtype=torch.int64))
        self._held = False

    def hold_draw(self, number: int | None) -> None:
        """Use draw `number` until told otherwise; None: count on from here with every forward."""
        self._held = number is not None
        if number is not None:
            self.draw.fill_(number)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        self._check_input(x)
        if noise is None:
            self._begin_draw()
        return self._in_full_precision(x, self._noise(x, noise, self.draw, 0))[1]

    def membrane(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        self._check_input(x)
        return self._in_full_precision(x, self._noise(x, noise, self.draw, 0))[0]

    def stream(self, x: Tensor, state: State | None = None, noise: Tensor | None = None) -> tuple[Tensor, State]:
        self._check_input(x)
        if not state and noise is None:
            self._begin_draw()
        draw = state["draw"] if state and "draw" in state else self.draw.clone()
        step = state["step"] if state else 0
        spikes, state = self._stream(x, state, self._noise(x, noise, draw, step))
        return spikes, state | {"draw": draw}

    def _begin_draw(self) -> None:
        if not self._held:
            self.draw.add_(1)

    def _noise(self, x: Tensor, noise: Tensor | None, draw: Tensor, first_step: int) -> Tensor:
        if noise is None:
            return uniform(self.noise_key, draw, first_step, tuple(x.shape), torch.promote_types(x.dtype, torch.float))
        if noise.shape != x.shape:
            raise UserError(f"noise is {tuple(noise.shape)}, the input {tuple(x.shape)}: one number for each")
        return noise


def hold_draws(network: nn.Module, number: int | None) -> None:
    """`hold_draw` for every stochastic neuron of a network."""
    for module in network.modules():
        if isinstance(module, StochasticNeuron):
            module.hold_draw(number)
