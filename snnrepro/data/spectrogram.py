"""Waveforms to what a network hears: log-mel energies, and spikes from them.

Shapes: a waveform `[L]`; levels and spikes `[T, F]`, F mel bands (delta: 2F).
"""

import warnings
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from snnrepro.data.encoding import delta
from snnrepro.errors import UserError


class Ear(NamedTuple):
    """How a waveform is heard and coded.

    The first duration_ms of a recording (a shorter one is followed by silence) become T windows of window_ms, their
    middles duration_ms / T apart. Mel bands lie from low_hz to half the sampling rate. A level is the band's power
    in dB below the loudest of the recording, from 0 (dynamic_range_db below or less) to 1.
    code: `analog`, the levels; `delta`, spikes where the level has risen (bands 0 to F-1) or fallen (F to 2F-1) by
    delta_threshold since the band's last spike; `level`, a spike with probability level * level_rate at each step,
    drawn by (coding_seed, name of the recording).
    """

    num_steps: int
    duration_ms: float = 1000.0
    num_mels: int = 40
    window_ms: float = 25.0
    low_hz: float = 20.0
    dynamic_range_db: float = 80.0
    code: Literal["analog", "delta", "level"] = "delta"
    delta_threshold: float = 0.1
    level_rate: float = 0.5
    coding_seed: int = 0

    @property
    def bands(self) -> int:
        """Features of the code."""
        return 2 * self.num_mels if self.code == "delta" else self.num_mels


def levels(waveform: Tensor, sample_rate: int, ear: Ear) -> Tensor:
    """Log-mel levels `[T, F]` in 0 to 1; silence is 0 throughout."""
    length = round(sample_rate * ear.duration_ms / 1000)
    heard = torch.zeros(length)
    heard[: min(length, len(waveform))] = waveform[:length]
    hop = length // ear.num_steps
    power = mel_spectrogram(sample_rate, ear, hop)(heard)
    power = power.T[: ear.num_steps]
    loudest = power.max()
    if loudest <= 0:
        return torch.zeros_like(power)
    decibels = 10 * torch.log10((power / loudest).clamp(min=10 ** (-ear.dynamic_range_db / 10)))
    return (1 + decibels / ear.dynamic_range_db).clamp(0, 1)


def coded(level: Tensor, ear: Ear, recording: str) -> Tensor:
    """Levels `[T, F]` in the ear's code: `[T, F]`, delta `[T, 2F]`; spikes are 0 or 1.

    recording: a name that the draws depend on.
    """
    if ear.code == "analog":
        return level
    if ear.code == "delta":
        return delta(level[:, None], ear.delta_threshold)[:, 0]
    # A hash, since torch's CPU generator looks at the lower 32 bits of its seed only.
    seed = sha256(f"{ear.coding_seed}/{recording}".encode()).digest()[:8]
    draws = torch.Generator().manual_seed(int.from_bytes(seed, "big"))
    return (torch.rand(level.shape, generator=draws) < level * ear.level_rate).to(level.dtype)


def fft_length(window: int) -> int:
    """The power of 2 that holds a window of so many samples."""
    return 1 << (window - 1).bit_length()


@lru_cache
def mel_spectrogram(sample_rate: int, ear: Ear, hop: int) -> Any:
    """torchaudio's, for waveforms `[L]`. Raises UserError where a band holds no frequency of the window."""
    from torchaudio.transforms import MelSpectrogram

    window = round(sample_rate * ear.window_ms / 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty bands, which are refused here
        mel = MelSpectrogram(
            sample_rate,
            n_fft=fft_length(window),
            win_length=window,
            hop_length=hop,
            f_min=ear.low_hz,
            n_mels=ear.num_mels,
            norm="slaney",
        )
    if not bool((mel.mel_scale.fb.sum(0) > 0).all()):
        raise UserError(
            f"dataset.num_mels={ear.num_mels}: windows of {ear.window_ms:g} ms at {sample_rate} Hz do not tell so many "
            "bands apart; lower it, or raise dataset.window_ms"
        )
    return mel
