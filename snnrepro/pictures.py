"""Writing a picture whole or not at all."""

from pathlib import Path
from typing import Any


def save_png(figure: Any, file: Path, dpi: int = 130) -> None:
    """Save a matplotlib figure and close it; a reader never sees half a file."""
    from matplotlib import pyplot

    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial")
    figure.savefig(partial, dpi=dpi, format="png")
    partial.replace(file)
    pyplot.close(figure)
