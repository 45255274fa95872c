"""ImageNet as torchvision lays it out: one JPEG an image, decoded when it is asked for.

Shapes: batches `[1, B, 3, H, W]` uint8.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnrepro.data.image_files import not_found
from snnrepro.data.samples import Samples
from snnrepro.errors import UserError, first_line

OFFICIAL = {"train": 1_281_167, "test": 50_000}
RESIZE = 256 / 224  # of the shorter side, before the centre is cut out


class FolderSamples(Samples):
    """JPEGs of class folders. In training a random part (8 to 100 % of the area) scaled to H x W, else the centre."""

    per_sample = True

    def __init__(self, files: list[Path], labels: list[int], size: tuple[int, int]) -> None:
        from torchvision.transforms import v2

        self.files = files
        self.labels = torch.tensor(labels)
        self._train = v2.RandomResizedCrop(size, antialias=True)
        self._test = v2.Compose([v2.Resize(round(min(size) * RESIZE), antialias=True), v2.CenterCrop(size)])

    def fetch(self, rows: Tensor, training: bool) -> Tensor:
        crop = self._train if training else self._test
        return torch.stack([crop(read_image(self.files[row])) for row in rows.tolist()])[None]


def read_image(file: Path) -> Tensor:
    """An image `[3, H, W]` uint8. Raises UserError where it is missing or damaged."""
    from PIL import Image
    from torchvision.transforms.v2.functional import pil_to_tensor

    try:
        with Image.open(file) as image:
            pixels: Tensor = pil_to_tensor(image.convert("RGB"))
    # SyntaxError: what Pillow makes of some damaged files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{file} cannot be read as an image ({first_line(error)}): fetch it again") from None
    return pixels


def read_imagenet(
    folder: Path, size: tuple[int, int], allow_partial: bool
) -> tuple[dict[str, Samples], dict[str, Any], tuple[str, ...]]:
    """`imagenet/{train,val}/<synset>/*.JPEG`, as torchvision lays it out.

    Returns the parts, what the record says of them, and the synsets. Raises UserError where there is nothing, or not
    all of it without allow_partial.
    """
    places = (folder / "imagenet", folder / "ImageNet", folder / "ILSVRC2012", folder)
    place = next((p for p in places if (p / "train").is_dir() and (p / "val").is_dir()), None)
    synsets = sorted(p.name for p in (place / "train").iterdir() if p.is_dir()) if place else []
    if place is None or not synsets:
        raise not_found("imagenet", folder, "imagenet/train/<synset>/*.JPEG and imagenet/val/<synset>/*.JPEG")
    parts: dict[str, Samples] = {}
    for part, name in (("train", "train"), ("test", "val")):
        listed = [
            (file, label)
            for label, synset in enumerate(synsets)
            for file in sorted((place / name / synset).glob("*"))
            if file.suffix.lower() in (".jpeg", ".jpg", ".png")
        ]
        parts[part] = FolderSamples([file for file, _ in listed], [label for _, label in listed], size)
    there = {part: len(samples) for part, samples in parts.items()}
    partial = any(there[part] < whole for part, whole in OFFICIAL.items())
    if partial and not allow_partial:
        counts = ", ".join(f"{there[part]:,} of {whole:,} ({part})" for part, whole in OFFICIAL.items())
        raise UserError(
            f"imagenet is not whole in {place.resolve()}: {counts} images; fetch the rest, or "
            "dataset.allow_partial=true takes what is there, and the record says so"
        )
    facts = {"layout": "class folders of JPEGs", "recordings": there, "official": OFFICIAL, "partial": partial}
    return parts, facts, tuple(synsets)
