"""Getting data sets: from their official addresses, with checksums, or from archives that lie in the data folder.

Shapes: none, files only. Training never comes here.
"""

import hashlib
import shutil
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from snnrepro.data.extract import byte_bar, unfinished, unpack
from snnrepro.data.extract import extract as extract
from snnrepro.errors import UserError, did_you_mean, first_line

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 2**16  # bytes

_IDX = [f"{part}-ubyte.gz" for split in ("train", "t10k") for part in (f"{split}-images-idx3", f"{split}-labels-idx1")]
_CIFAR = "https://www.cs.toronto.edu/~kriz/cifar.html"
_ZENKE = "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/"
# Addresses as torchvision 0.26, tonic 1.7 and spikingjelly 2.0 print them, but for MNIST's mirror, the page of
# CIFAR10-DVS and two repositories. Folders are below the data folder.
_BY_HAND = {
    "mnist": f"get {', '.join(_IDX)} from http://yann.lecun.com/exdb/mnist/ or its mirror "
    "https://github.com/cvdfoundation/mnist and put them in MNIST/raw/",
    "fashion_mnist": f"get {', '.join(_IDX)} from https://github.com/zalandoresearch/fashion-mnist and put them in "
    "FashionMNIST/raw/",
    "cifar10": f"get cifar-10-python.tar.gz from {_CIFAR} and put it in the data folder",
    "cifar100": f"get cifar-100-python.tar.gz from {_CIFAR} and put it in the data folder",
    "nmnist": "get Train.zip and Test.zip from https://www.garrickorchard.com/datasets/n-mnist and put them in NMNIST/",
    "dvs_gesture": "get DvsGesture.tar.gz (md5 8a5c71fb11e24e5ca5b11866ca6c00a1) from "
    "https://ibm.ent.box.com/s/3hiq58ww1pbbjrinh367ykfdf60xsfm8/folder/50167556794 and put it in the data folder, or "
    "tonic's ibmGestureTrain.tar.gz and ibmGestureTest.tar.gz in DVSGesture/",
    "cifar10_dvs": "get the ten files airplane.zip to truck.zip from "
    "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671, or tonic's CIFAR10DVS.zip, and put them in "
    "CIFAR10DVS/",
    "shd": f"get shd_train.h5.zip and shd_test.h5.zip from {_ZENKE} and put them in SHD/",
    "ssc": f"get ssc_train.h5.zip, ssc_valid.h5.zip and ssc_test.h5.zip from {_ZENKE} and put them in SSC/",
    "gsc": "get https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz and put it in "
    "the data folder",
    "spoken_digits": "run git clone https://github.com/Jakobovski/free-spoken-digit-dataset in the data folder",
    "spoken_digits_spikes": "these are spoken digits encoded with https://github.com/electronicvisions/lauscher and "
    "published nowhere: put your shd_train.h5 and shd_test.h5 in spoken_digits_spikes/",
    "imagenet": "get ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz from "
    "https://image-net.org/challenges/LSVRC/2012/2012-downloads.php (it asks for an account), put them in imagenet/, "
    "and let torchvision.datasets.ImageNet unpack them to imagenet/{train,val}/<wnid>/*.JPEG",
}

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_SPIKES = {name: [f"{name}_{part}.h5" for part in ("train", "valid", "test")] for name in ("shd", "ssc")}
# Folders where archives may lie (each also with spikingjelly's download/), then archives and where each is unpacked to.
# Names that any data set could have (train.zip, cat.zip) are not looked for in the data folder itself.
_FOUND: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "mnist": (("MNIST",), dict.fromkeys(_IDX, "MNIST/raw")),
    "fashion_mnist": (("FashionMNIST",), dict.fromkeys(_IDX, "FashionMNIST/raw")),
    "cifar10": (("", "CIFAR10", "cifar10"), {"cifar-10-binary.tar.gz": "", "cifar-10-python.tar.gz": ""}),
    "cifar100": (("", "CIFAR100", "cifar100"), {"cifar-100-python.tar.gz": ""}),
    "nmnist": (
        ("NMNIST", "N-MNIST", "N_MNIST", "nmnist"),
        dict.fromkeys(("train.zip", "test.zip", "Train.zip", "Test.zip"), "NMNIST"),
    ),
    "dvs_gesture": (
        ("", "DVSGesture", "DVS128Gesture", "DvsGesture", "dvs_gesture"),
        dict.fromkeys(("ibmGestureTrain.tar.gz", "ibmGestureTest.tar.gz"), "DVSGesture") | {"DvsGesture.tar.gz": ""},
    ),
    "cifar10_dvs": (
        ("CIFAR10DVS", "CIFAR10-DVS", "DVS_Cifar10", "cifar10_dvs"),
        dict.fromkeys(("CIFAR10DVS.zip", *(f"{name}.zip" for name in _CLASSES)), "CIFAR10DVS"),
    ),
    **{
        name: (
            ("", name.upper(), name, "hdspikes"),
            {f"{file}.{kind}": name.upper() for file in files for kind in kinds},
        )
        for kinds in [("zip", "gz")]
        for name, files in _SPIKES.items()
    },
    "gsc": (
        ("", "SpeechCommands"),
        {f"speech_commands_v0.0{v}.tar.gz": f"SpeechCommands/speech_commands_v0.0{v}" for v in (1, 2)},
    ),
}


class Archive(NamedTuple):
    """One file to fetch.

    checksum: `md5:` or `sha256:` and hex digits. folder: where the file goes below the data folder. extract_to: where
    it is unpacked to below the data folder; None where it is read as it is. dataset: whose `by_hand` an error repeats.
    """

    url: str
    name: str
    checksum: str
    folder: str
    extract_to: str | None
    dataset: str = ""


def archives(name: str) -> list[Archive]:
    """The files of a data set, by its config's `source`; none where it must be got by hand.

    Addresses and checksums are those of the installed libraries: torchvision, tonic, torchaudio.
    """
    by_hand(name)  # refuses unknown names
    if name in ("mnist", "fashion_mnist"):
        from torchvision import datasets as images

        idx = {"mnist": images.MNIST, "fashion_mnist": images.FashionMNIST}[name]
        folder = f"{idx.__name__}/raw"
        return [Archive(idx.mirrors[0] + file, file, f"md5:{md5}", folder, None, name) for file, md5 in idx.resources]
    if name in ("cifar10", "cifar100"):
        from torchvision import datasets as images

        cifar = {"cifar10": images.CIFAR10, "cifar100": images.CIFAR100}[name]
        return [Archive(cifar.url, cifar.filename, f"md5:{cifar.tgz_md5}", "", "", name)]
    if name == "gsc":
        from torchaudio.datasets import speechcommands as gsc

        url, sha256 = next((url, digits) for url, digits in gsc._CHECKSUMS.items() if f"/{gsc.URL}." in url)
        return [Archive(url, f"{gsc.URL}.tar.gz", f"sha256:{sha256}", "", f"SpeechCommands/{gsc.URL}", name)]
    if name in ("nmnist", "dvs_gesture", "cifar10_dvs", "shd", "ssc"):
        from tonic import datasets as events

        if name == "cifar10_dvs":
            dvs = events.CIFAR10DVS
            files = [(dvs.url, dvs.filename, dvs.file_md5)]
        elif name in ("nmnist", "dvs_gesture"):
            dvs = {"nmnist": events.NMNIST, "dvs_gesture": events.DVSGesture}[name]
            files = [
                (dvs.train_url, dvs.train_filename, dvs.train_md5),
                (dvs.test_url, dvs.test_filename, dvs.test_md5),
            ]
        else:
            dvs = {"shd": events.SHD, "ssc": events.SSC}[name]
            parts = ("train", "valid", "test") if name == "ssc" else ("train", "test")
            zips = [(getattr(dvs, f"{part}_zip"), getattr(dvs, f"{part}_md5")) for part in parts]
            files = [(dvs.base_url + file, file, md5) for file, md5 in zips]
        folder = dvs.__name__
        return [Archive(url, file, f"md5:{md5}", folder, folder, name) for url, file, md5 in files]
    return []


def by_hand(name: str) -> str:
    """One line: where to get a data set, and where to put it below the data folder.

    Raises UserError for a name that there is not.
    """
    if name not in _BY_HAND:
        raise UserError(f"there is no data set {name!r} to get{did_you_mean(name, list(_BY_HAND))}")
    return _BY_HAND[name]


def fetch(archive: Archive, data_dir: Path, progress: bool = True) -> Path:
    """Download a file into its folder and check it; one that is there with the right checksum is taken as it is.

    It gets its name only when it is whole. Raises UserError for a dead link, a server's error, a wrong checksum or a
    full disk, with what to do instead.
    """
    target = data_dir / archive.folder / archive.name
    there = False
    try:
        there = target.is_file()
        if there and _checksum(target, archive.checksum) == archive.checksum:
            return target
        unchecked = unfinished(target.parent, archive.name)
        try:
            _download(archive.url, unchecked, archive.name, progress)
            found = _checksum(unchecked, archive.checksum)
            if found != archive.checksum:
                size = unchecked.stat().st_size
                raise OSError(f"{size:,} bytes came, of checksum {found} where it should be {archive.checksum}")
            target.parent.mkdir(parents=True, exist_ok=True)
            unchecked.replace(target)
        finally:
            unchecked.unlink(missing_ok=True)
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error
        told = f"{by_hand(archive.dataset)} (the data folder is {data_dir.resolve()})" if archive.dataset else ""
        raise UserError(
            f"{archive.name} could not be fetched from {archive.url}: {first_line(reason)}"
            + (f"; the one in {target.parent} has another checksum" if there else "")
            + f"; by hand: {told or f'put it at {target.resolve()}'}"
        ) from None
    return target


def unpack_found(name: str, data_dir: Path, progress: bool = True) -> list[Path]:
    """Unpack the archives of a data set that lie in the data folder, under the names and in the places that its
    authors, tonic, torchvision, torchaudio and spikingjelly give them, to where the readers look.

    Returns those that held something new; what is unpacked already is left alone. Raises UserError as `extract` does.
    """
    by_hand(name)  # refuses unknown names
    places, targets = _FOUND.get(name, ((), {}))
    found = []
    for place in [Path(place, inside) for place in places for inside in ("", "download")]:
        for file, destination in targets.items():
            archive = data_dir / place / file
            if archive.is_file() and unpack(archive, data_dir / destination, progress)[1]:
                found.append(archive)
    return found


def _download(url: str, file: Path, name: str, progress: bool) -> None:
    request = Request(url, headers={"User-Agent": "snnrepro"})
    try:
        response = urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        raise
    with response, file.open("wb") as sink, byte_bar(progress) as bar:
        total = response.length
        if total is not None and total > (free := shutil.disk_usage(file.parent).free):
            raise OSError(f"it has {total:,} bytes, the disk has {free:,} free")
        task = bar.add_task(f"fetching {name}", total=total)
        while chunk := response.read(CHUNK):
            sink.write(chunk)
            bar.advance(task, len(chunk))
        if total is not None and sink.tell() != total:
            raise OSError(f"it ended after {sink.tell():,} of {total:,} bytes")


def _checksum(file: Path, like: str) -> str:
    """The checksum of a file in the form, and by the algorithm, of another."""
    algorithm = like.partition(":")[0]
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, partial(hashlib.new, algorithm, usedforsecurity=False))
    return f"{algorithm}:{digest.hexdigest()}"
