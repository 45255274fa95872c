"""Losses on the network's outputs over time.

Shapes: outputs `[T, B, K]`; targets `[B]` class indices or `[B, K]` probabilities; the result is a scalar.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from snnrepro.types import Fraction, PositiveInt

Readout = Callable[[Tensor], Tensor]


class Loss:
    """Base of the losses: the task's loss, and how the neurons' auxiliary losses join it.

    auxiliary_weight is l in (1 - l) task + l (sum over layers), until `auxiliary_epochs` (null: to the end) have
    passed; auxiliary_clamp stops the sum at 0. MPE-PSN (arXiv 2409.04978): l 0.01, on DVS-Gesture 0.001, for 150
    epochs; only its CIFAR-10 script clamps. A net whose neurons have no auxiliary loss keeps the task's loss as it is.
    """

    def __init__(self, auxiliary_weight: float, auxiliary_epochs: int | None, auxiliary_clamp: bool) -> None:
        self.auxiliary_weight = auxiliary_weight
        self.auxiliary_epochs = auxiliary_epochs
        self.auxiliary_clamp = auxiliary_clamp

    def __call__(self, outputs: Tensor, targets: Tensor, readout: Readout) -> Tensor:
        """The task's loss."""
        raise NotImplementedError

    def with_auxiliary(self, task: Tensor, auxiliary: Tensor, epoch: int) -> Tensor:
        """What is minimised in this epoch (from 0)."""
        if self.auxiliary_epochs is not None and epoch >= self.auxiliary_epochs:
            return task
        if self.auxiliary_clamp:
            auxiliary = auxiliary.clamp(min=0)
        return (1 - self.auxiliary_weight) * task + self.auxiliary_weight * auxiliary


class CrossEntropy(Loss):
    """Cross-entropy of the readout, with label smoothing.

    PSN (arXiv 2304.12760) and PSU (arXiv 2402.00449) smooth by 0.1 on CIFAR.
    """

    def __init__(
        self,
        *,
        label_smoothing: Fraction = 0.0,
        auxiliary_weight: Fraction = 0.01,
        auxiliary_epochs: PositiveInt | None = None,
        auxiliary_clamp: bool = True,
    ) -> None:
        super().__init__(auxiliary_weight, auxiliary_epochs, auxiliary_clamp)
        self.label_smoothing = label_smoothing

    def __call__(self, outputs: Tensor, targets: Tensor, readout: Readout) -> Tensor:
        return functional.cross_entropy(readout(outputs).float(), targets, label_smoothing=self.label_smoothing)


class MeanSquaredError(Loss):
    """Mean over samples and classes of (readout - target)^2; a class index stands for its one-hot vector.

    PSU (arXiv 2402.00449) trains so on SHD.
    """

    def __init__(
        self,
        *,
        auxiliary_weight: Fraction = 0.01,
        auxiliary_epochs: PositiveInt | None = None,
        auxiliary_clamp: bool = True,
    ) -> None:
        super().__init__(auxiliary_weight, auxiliary_epochs, auxiliary_clamp)

    def __call__(self, outputs: Tensor, targets: Tensor, readout: Readout) -> Tensor:
        scores = readout(outputs).float()
        wanted = targets if targets.ndim == 2 else functional.one_hot(targets, scores.shape[1])
        return functional.mse_loss(scores, wanted.to(scores.dtype))


class TET(Loss):
    """Temporal efficient training: (1 - l) mean over t of CE(outputs[t]) + l MSE(outputs, 1).

    mse_weight is l, 1e-3 in the CIFAR10-DVS recipes of PSN (arXiv 2304.12760) and MPE-PSN (arXiv 2409.04978). The
    readout plays no part in the loss, only in the accuracy.
    """

    def __init__(
        self,
        *,
        mse_weight: Fraction = 1e-3,
        label_smoothing: Fraction = 0.0,
        auxiliary_weight: Fraction = 0.01,
        auxiliary_epochs: PositiveInt | None = None,
        auxiliary_clamp: bool = True,
    ) -> None:
        super().__init__(auxiliary_weight, auxiliary_epochs, auxiliary_clamp)
        self.mse_weight = mse_weight
        self.label_smoothing = label_smoothing

    def __call__(self, outputs: Tensor, targets: Tensor, readout: Readout) -> Tensor:
        outputs = outputs.float()
        every_step = targets.repeat(outputs.shape[0], *[1] * (targets.ndim - 1))
        ce = functional.cross_entropy(outputs.flatten(0, 1), every_step, label_smoothing=self.label_smoothing)
        mse = functional.mse_loss(outputs, torch.ones_like(outputs))
        return (1 - self.mse_weight) * ce + self.mse_weight * mse
