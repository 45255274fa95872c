"""docs/data.md: every data set in one table, from its config, its constants and the measured loading rates."""

import csv
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "data.md"
RATES = ROOT / "results" / "benchmarks" / "data_cpu.csv"

WHOLE = "the whole set, in its official layout"
# On what real bytes the tests and runs of this repository have read each source.
TESTED = {
    "digits": "the whole set (ships inside scikit-learn)",
    "mnist": WHOLE,
    "fashion_mnist": WHOLE,
    "cifar10": "the whole set, in the binary layout; the pickle layout on files written by a test",
    "cifar100": "files of both layouts written by a test",
    "yin_yang": "generated here, compared with its rule",
    "imagenet": "JPEGs written by a test",
    "nmnist": "1,100 real recordings",
    "dvs_gesture": "ten real recordings, as tonic's npy and rewritten as AEDAT 3.1",
    "cifar10_dvs": "a real AEDAT 4 file of another camera; AEDAT 2 files written by a test",
    "shd": "real spike trains in its layout (spoken_digits_spikes)",
    "ssc": "real spike trains in its layout (spoken_digits_spikes)",
    "spoken_digits_spikes": "all 420 recordings",
    "gsc": "300 real recordings of version 0.01 with the official lists",
    "spoken_digits": "all 3,000 recordings",
}

HEAD = """# Data sets

The table is written by `python scripts/document.py` from configs/dataset and results/benchmarks; edit those.

`python scripts/prepare_data.py dataset=NAME` takes what lies in the data folder (`paths.data_dir`, or the environment
variable `SNNREPRO_DATA`), unpacks archives it finds there, or downloads the official files with their checksums, and
packs them. Training never downloads. `--check` verifies what was packed, `scripts/preview.py dataset=NAME` shows it.

A batch is `[T, B, *]` in the smallest exact dtype; *input* is what a network sees at one step. Rates are samples per
second from one process and one thread at the data set's defaults: *loader* up to the batch, *input* with normalising,
augmentation and encoding up to the network.
"""

MORE = """
## Where files are looked for

Below the data folder, first found first taken: the layout of the authors, of torchvision, torchaudio or tonic, and of
spikingjelly.

{layouts}

Files that are not there are one line that names the folder and the command. A part of a data set needs
`dataset.allow_partial=true`; the record then says how much of it there was, whether the test set had to be the training
set, and no verdict is given on it.

A recording or an image that cannot be read stops the run with its name, and its place in a file that holds several.
`dataset.damaged=skip` leaves out what is damaged: the record names it, and no verdict is given. Of a folder of images
all are then decoded beforehand, once: paths.cache_dir remembers which are damaged.

## Events to frames

`dataset.split_by`: `number` (T bins of equally many events), `time` (T bins of equal duration over the recording),
`duration` (bins of `bin_ms`) or `count` (bins of `bin_events`). The first two agree with spikingjelly's integration
(`remainder=last`) and tonic's ToFrame (`remainder=drop`), the others with ToFrame, cut and padded to T: event for
event.
`dataset.size` adds up the counts of neighbouring pixels, so that every event is kept; `dataset.resize` interpolates
bilinearly instead, as the papers do on CIFAR10-DVS. `polarity=both|merged|on|off`, `clip=true` for frames of 0 and 1.

## The cache

Frames are packed once, into `paths.cache_dir` (`SNNREPRO_CACHE`): sparse or dense, whichever is smaller. The folder's
name holds every setting that shapes them and the names, sizes and times of all source files, so that another T or a
changed file is another cache. All bytes are checked (CRC-32) when a run opens it; a damaged one is built again. Of
several jobs that want it at once one builds and the others wait. Still images need none: they are read into memory.

## Sound

`gsc` and `spoken_digits` are heard as log-mel levels (`num_mels` bands from `low_hz`, windows of `window_ms`, T steps
over `duration_ms`), 0 to 1 over `dynamic_range_db` below the recording's loudest. `code=delta`: a spike where a level
has risen or fallen by `delta_threshold` since the band's last; `code=level`: random spikes at `level_rate` times the
level, drawn by `coding_seed` and the file's name; `code=analog`: the levels themselves.

## Encodings of images

`dataset.encoding`: `repeat` (the image at every step), `columns`, `rows`, `pixels` and `permuted_pixels` (one a step),
`rate` (Bernoulli spikes), `latency` and `latency_v1` (one spike, the brighter the earlier: the second and the first
version of Block).

## How they look

Made by `scripts/preview.py`. DVS-Gesture (Amir et al. 2017, CC BY 4.0), first over time, then as a sheet:

![five gestures over time](pictures/dvs_gesture.gif)
![five gestures as frames](pictures/dvs_gesture.png)

N-MNIST (Orchard et al. 2015, CC BY-SA 4.0):

![digits as frames](pictures/nmnist.png)

Spoken digits (Free Spoken Digit Dataset, CC BY-SA 4.0), waveforms beside their delta spikes, then through a
model of the cochlea:

![waveforms and spikes](pictures/spoken_digits.png)
![spikes of a cochlea](pictures/spoken_digits_spikes.png)
"""


def page() -> str:
    from snnrepro.config.check import options

    columns = ["`dataset=`", "what", "T x input", "reader tested on", "loader", "input"]
    lines = [HEAD, f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    rates = measured()
    for name in options("dataset"):
        config, what = described(name)
        cells = [f"[{name}](../configs/dataset/{name}.yaml)", what, shape_of(config), TESTED[config["source"]]]
        row = rates.get(name) or rates.get(f"{name}_random")
        note = "" if name in rates or not row else " (random spikes)"
        cells += [rate(row, "loader") + note, rate(row, "input") + note]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" + MORE.format(layouts="\n".join(layouts()))


def described(name: str) -> tuple[dict[str, Any], str]:
    """A data set's config, and what the comment above its `_target_` says."""
    from snnrepro.config.compose import compose_job

    text = (ROOT / "configs" / "dataset" / f"{name}.yaml").read_text()
    found = re.search(r"((?:^# .*\n)+)_target_", text, re.MULTILINE)
    assert found is not None, name
    return dict(compose_job([f"dataset={name}"]).config.dataset), " ".join(found[1].replace("# ", "").split())


def shape_of(config: dict[str, Any]) -> str:
    """T x input at the defaults, from the class that the config builds."""
    from hydra.utils import instantiate

    from snnrepro.data.augment import Augmentation

    module = instantiate(config)("", "", "paper", 0, Augmentation())
    return " x ".join(map(str, (module.num_steps, *module.input_shape)))


def measured() -> dict[str, dict[str, str]]:
    if not RATES.is_file():
        return {}
    with RATES.open() as stream:
        return {row["dataset"]: row for row in csv.DictReader(stream)}


def rate(row: dict[str, str] | None, way: str) -> str:
    return f"{float(row[f'{way}_samples_per_second']):,.0f}/s" if row else "not measured"


def layouts() -> list[str]:
    """The first line of each finder's or reader's docstring."""
    import inspect

    from snnrepro.data import event_sources, image_files, image_folder, speech

    finders: dict[str, Any] = {
        "mnist": image_files.read_mnist,
        "fashion_mnist": image_files.read_fashion_mnist,
        "cifar10": image_files.read_cifar10,
        "cifar100": image_files.read_cifar100,
        "imagenet": image_folder.read_imagenet,
        "nmnist": event_sources.find_nmnist,
        "dvs_gesture": event_sources.find_dvs_gesture,
        "cifar10_dvs": event_sources.find_cifar10_dvs,
        "shd, ssc, spoken_digits_spikes": event_sources.find_spike_trains,
        "gsc": speech.find_speech_commands,
        "spoken_digits": speech.find_spoken_digits,
    }
    said = {name: " ".join((inspect.getdoc(find) or "").split("\n\n")[0].split()) for name, find in finders.items()}
    return [f"- {name}: {text}" for name, text in said.items()]
