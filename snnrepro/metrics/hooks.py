"""Context in which forward hooks of a network count, and after which none is left; sums over processes."""

from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor


class ForwardHooks:
    """Base of the counters: `_attach` returns the handles of the hooks that it registers."""

    def __init__(self) -> None:
        self._handles: list[Any] = []

    def _attach(self) -> list[Any]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._handles = self._attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def summed_over_processes(total: Tensor, device: torch.device) -> Tensor:
    """The sum of a tensor over all processes of a distributed run, on `device`; alone, the tensor there."""
    summed = total.to(device).clone()  # what was counted in inference mode may not be changed in place
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(summed)
    return summed
