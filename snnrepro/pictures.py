"""Writing a picture whole or not at all."""

from pathlib import Path
from typing import Any

from snnrepro.writing import written_whole


def save_png(figure: Any, file: Path, dpi: int = 130) -> None:
    """Save a matplotlib figure and close it; a reader never sees half a file."""
    from matplotlib import pyplot

    file.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(file) as partial:
        figure.savefig(partial, dpi=dpi, format="png")
    pyplot.close(figure)
