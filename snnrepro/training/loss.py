"""Losses on the network's outputs over time.

Shapes: outputs `[T, B, K]`; targets `[B]` class indices or `[B, K]` probabilities; the result is a scalar.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from snnrepro.types import Fraction

Readout = Callable[[Tensor], Tensor]


class CrossEntropy:
    """Cross-entropy of the readout, with label smoothing.

    PSN (arXiv 2304.12760) and PSU (arXiv 2402.00449) smooth by 0.1 on CIFAR.
    """

    def __init__(self, *, label_smoothing: Fraction = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, outputs: Tensor, targets: Tensor, readout: Readout) -> Tensor:
        return functional.cross_entropy(readout(outputs).float(), targets, label_smoothing=self.label_smoothing)


class TET:
    """Temporal efficient training: (1 - l) mean over t of CE(outputs[t]) + l MSE(outputs, 1).

    mse_weight is l, 1e-3 in the CIFAR10-DVS recipes of PSN (arXiv 2304.12760) and MPE-PSN (arXiv 2409.04978). The
    readout plays no part in the loss, only in the accuracy.
    """

    def __init__(self, *, mse_weight: Fraction = 1e-3, label_smoothing: Fraction = 0.0) -> None:
        self.mse_weight = mse_weight
        self.label_smoothing = label_smoothing

    def __call__(self, outputs: Tensor, targets: Tensor, readout: Readout) -> Tensor:
        outputs = outputs.float()
        every_step = targets.repeat(outputs.shape[0], *[1] * (targets.ndim - 1))
        ce = functional.cross_entropy(outputs.flatten(0, 1), every_step, label_smoothing=self.label_smoothing)
        mse = functional.mse_loss(outputs, torch.ones_like(outputs))
        return (1 - self.mse_weight) * ce + self.mse_weight * mse
