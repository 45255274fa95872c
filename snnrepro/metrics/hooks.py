"""Context in which forward hooks of a network count, and after which none is left."""

from types import TracebackType
from typing import Any, Self


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
