"""From outputs over time to one score per class: `[T, B, K]` -> `[B, K]`; used by loss and accuracy alike."""

from torch import Tensor


def mean(outputs: Tensor) -> Tensor:
    """Mean over time, the logits of PSN, PSU and MPE-PSN."""
    return outputs.mean(0)


def maximum(outputs: Tensor) -> Tensor:
    """Largest value over time, one of the Block paper's two readouts."""
    return outputs.amax(0)


def total(outputs: Tensor) -> Tensor:
    """Sum over time, the other."""
    return outputs.sum(0)
