"""Noise that depends on nothing but (seed, layer, draw, time-step, neuron), so that every form sees the same.

Uniform numbers are hashes of these five, in integer arithmetic that is exact on every device and under torch.compile.
Seed and layer are one saved key, taken from torch's generator when the layer is made, as its weights are. A draw is
one presentation of one batch.
"""

import torch
from torch import Tensor, nn

from snnrepro.errors import UserError
from snnrepro.neurons.neuron import Neuron, State
from snnrepro.neurons.surrogate import SurrogateSpec

# Odd multipliers of two well-tried integer finalisers, as signed numbers: SplitMix64's and "lowbias32".
_KEY_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
_FACTORS = (0x7FEB352D, 0x846CA68B - 2**32)


def _key_mix(z: Tensor) -> Tensor:
    """SplitMix64's finaliser, int64. The masks make its right shifts logical: the sign does not spread."""
    z = (z ^ ((z >> 30) & (2**34 - 1))) * _KEY_FACTORS[0]
    z = (z ^ ((z >> 27) & (2**37 - 1))) * _KEY_FACTORS[1]
    return z ^ ((z >> 31) & (2**33 - 1))


def _mix_in_place(z: Tensor) -> Tensor:
    """The 32-bit finaliser, int32, in place."""
    z ^= (z >> 16) & 0xFFFF
    z *= _FACTORS[0]
    z ^= (z >> 15) & 0x1FFFF
    z *= _FACTORS[1]
    z ^= (z >> 16) & 0xFFFF
    return z


def uniform(key: Tensor, draw: Tensor, first_step: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Uniform numbers in [0, 1), multiples of 2^-24, of `shape` `[t, B, *]` for steps first_step, first_step + 1, ...

    key, draw: int64 scalars, on the device of the result. Key, draw and step are hashed to 64 bits; half of them enter
    a neuron's counter before, half between two rounds of 32 bits, so that no two steps are rearrangements of another.
    """
    steps, *rest = shape
    # Counters enter by xor: inductor (torch 2.11) computes arange times a large constant without wrapping.
    t = torch.arange(first_step, first_step + steps, device=key.device)
    of_step = _key_mix(_key_mix(key ^ (draw << 20)) ^ t)
    neuron = torch.arange(torch.Size(rest).numel(), device=key.device, dtype=torch.int32)
    z = _mix_in_place(of_step.to(torch.int32)[:, None] ^ neuron)
    z += (of_step >> 32).to(torch.int32)[:, None]
    return ((_mix_in_place(z) >> 8) & 0xFFFFFF).to(dtype).mul_(2**-24).view(shape)


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
        return self._run(x, False, noise)

    def membrane(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        self._check_input(x)
        return self._run(x, True, noise)

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

    def _membrane_and_spikes(self, x: Tensor, *noise: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def _unfused(self, x: Tensor, *noise: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._membrane_and_spikes(x, self._noise(x, noise[0], self.draw, 0))

    def _source(self, x: Tensor, noise: Tensor | None) -> list[Tensor]:
        """The noise as a fused kernel takes it: given, or key and draw."""
        if noise is None:
            return [self.noise_key, self.draw.clone()]  # the draw counts on before backward may need it
        return [self._noise(x, noise, self.draw, 0).to(torch.promote_types(x.dtype, torch.float32))]

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
