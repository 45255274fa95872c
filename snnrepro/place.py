"""Which of a run's processes this one is."""

from typing import NamedTuple


class Place(NamedTuple):
    """rank of `world` processes in all; on its node the one numbered `local` of `beside`, on node `node` of `nodes`."""

    rank: int = 0
    world: int = 1
    local: int = 0
    beside: int = 1
    node: int = 0
    nodes: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes, and speaks to the user."""
        return self.rank == 0


ALONE = Place()
