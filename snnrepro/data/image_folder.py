"""ImageNet as torchvision lays it out: one JPEG an image, decoded when it is asked for.

A damaged image stops the run when it is met, or, where it is told so, all are decoded beforehand, the damaged ones left
out, and the cache folder remembers which.

Shapes: batches `[1, B, 3, H, W]` uint8.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnrepro.data.cache import digest, fingerprint
from snnrepro.data.datamodule import usable_cores
from snnrepro.data.image_files import not_found
from snnrepro.data.recorded import damaged, nothing_left, progress, without_damaged
from snnrepro.data.samples import Samples
from snnrepro.errors import UserError, first_line
from snnrepro.writing import written_whole

OFFICIAL = {"train": 1_281_167, "test": 50_000}
MOST_PIXELS = 2**27  # of one image, far above ImageNet's largest
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
        with Image.open(file, formats=("JPEG", "PNG")) as image:  # ImageNet has some PNGs by the name of JPEG
            if image.format == "PNG":
                image.verify()  # its checksums, which decoding passes over; a JPEG has none
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise UserError(f"it claims {image.width:,} x {image.height:,} pixels")
            pixels: Tensor = pil_to_tensor(image.convert("RGB"))
    except Exception as error:  # decoders fail in many ways
        raise UserError(f"{file} cannot be read as an image ({first_line(error)}): fetch it again") from None
    return pixels


def read_imagenet(
    folder: Path, size: tuple[int, int], allow_partial: bool, checked_in: Path | None = None
) -> tuple[dict[str, Samples], dict[str, Any], tuple[str, ...]]:
    """`imagenet/{train,val}/<synset>/*.JPEG`, as torchvision lays it out.

    checked_in: the cache folder, where damaged images are to be left out. Returns the parts, what the record says of
    them, and the synsets. Raises UserError where there is nothing, or not all of it without allow_partial.
    """
    places = (folder / "imagenet", folder / "ImageNet", folder / "ILSVRC2012", folder)
    place = next((p for p in places if (p / "train").is_dir() and (p / "val").is_dir()), None)
    synsets = sorted(p.name for p in (place / "train").iterdir() if p.is_dir()) if place else []
    if place is None or not synsets:
        raise not_found("imagenet", folder, "imagenet/train/<synset>/*.JPEG and imagenet/val/<synset>/*.JPEG")
    listed = {
        part: [
            (file, label)
            for label, synset in enumerate(synsets)
            for file in sorted((place / name / synset).glob("*"))
            if file.suffix.lower() in (".jpeg", ".jpg", ".png")
        ]
        for part, name in (("train", "train"), ("test", "val"))
    }
    there = {part: len(images) for part, images in listed.items()}
    partial = any(there[part] < whole for part, whole in OFFICIAL.items())
    if partial and not allow_partial:
        counts = ", ".join(f"{there[part]:,} of {whole:,} ({part})" for part, whole in OFFICIAL.items())
        raise UserError(
            f"imagenet is not whole in {place.resolve()}: {counts} images; fetch the rest, or "
            "dataset.allow_partial=true takes what is there, and the record says so"
        )
    facts: dict[str, Any] = {"layout": "class folders of JPEGs"}
    if checked_in is not None:
        broken = damaged_images([file for images in listed.values() for file, _ in images], place, checked_in)
        skipped = {part: [file for file, _ in images if file in broken] for part, images in listed.items()}
        if broken:
            names = [file.relative_to(folder).as_posix() for files in skipped.values() for file in files]
            facts["damaged"] = damaged(skipped, names)
            there, partial = without_damaged("imagenet", there, facts["damaged"]), True
        for part, images in listed.items():
            if images and not there[part]:
                raise nothing_left("imagenet", part, len(images), images[0][0])
        listed = {part: [pair for pair in images if pair[0] not in broken] for part, images in listed.items()}
    facts |= {"recordings": there, "official": OFFICIAL, "partial": partial}
    parts: dict[str, Samples] = {
        part: FolderSamples([file for file, _ in images], [label for _, label in images], size)
        for part, images in listed.items()
    }
    return parts, facts, tuple(synsets)


def damaged_images(files: list[Path], base: Path, cache_dir: Path) -> set[Path]:
    """Those that cannot be decoded: found once by decoding all, then read from the cache folder while no file changes.

    Raises UserError where the cache folder cannot be written.
    """
    kept = cache_dir / "imagenet" / f"damaged-{fingerprint(files, base)}.json"
    try:
        known = json.loads(kept.read_text())
        if known.pop("digest") == digest(known):
            return {base / name for name in known["damaged"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    with ThreadPoolExecutor(usable_cores()) as pool:  # Pillow decodes without holding the interpreter
        flags = list(progress(pool.map(_is_damaged, files), "checking imagenet", len(files)))
    found = [file for file, flag in zip(files, flags, strict=True) if flag]
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        text = {"damaged": [file.relative_to(base).as_posix() for file in found]}
        with written_whole(kept) as partial:
            partial.write_text(json.dumps(text | {"digest": digest(text)}))
    except OSError as error:
        raise UserError(f"{kept} cannot be written: {first_line(error)}; set paths.cache_dir=FOLDER") from None
    return set(found)


def _is_damaged(file: Path) -> bool:
    try:
        read_image(file)
    except UserError:
        return True
    return False
