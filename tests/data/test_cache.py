"""The cache: damage of any kind is seen and mended, one process builds, a failure leaves nothing behind.

Shapes: frames of a sample `[T, *]`, batches `[T, B, *]`.
"""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from snnrepro.data import cache as module
from snnrepro.data.cache import Cache, DamagedError, fingerprint, folder_of, open_or_build, opened, others, size_of
from snnrepro.errors import UserError

SPARSE = (np.random.default_rng(0).random((5, 3, 2, 40)) < 0.015) * np.uint16(300)  # positions and counts
DENSE = np.random.default_rng(1).integers(1, 200, (2, 3, 2, 2), dtype=np.uint16)
MARKS = (np.random.default_rng(2).random((4, 3, 60)) < 0.05).astype(np.uint16)  # positions only
REALS = np.random.default_rng(3).random((2, 3, 4)).astype(np.float16)
PARTS = {
    "train": (SPARSE, "counts"),
    "test": (DENSE, "counts"),
    "marks": (MARKS, "counts"),
    "reals": (REALS, "float16"),
}
FILES = {"train.labels", "train.offsets", "train.positions", "train.counts", "test.labels", "test.frames"}
FILES |= {"marks.labels", "marks.offsets", "marks.positions", "reals.labels", "reals.frames", "meta.json"}


class Filler:
    """Fills a cache with PARTS (or what is given), and counts how often it was asked to."""

    def __init__(self, parts=PARTS, fail: BaseException | None = None):
        self.parts, self.fail, self.built = parts, fail, 0

    def __call__(self, writer) -> dict:
        self.built += 1
        for part, (frames, dtype) in self.parts.items():
            made = writer(part, frames.shape[1:], dtype)
            for i, sample in enumerate(frames):
                made.append(sample, i)
                if self.fail is not None and part == "marks":
                    raise self.fail
        return {"events": 12}


def open_set(root: Path, fill, say=print, name="set", parameters=MappingProxyType({"T": 3}), source="source") -> Cache:
    parameters = dict(parameters)
    return open_or_build(folder_of(root, name, parameters, source), parameters, source, fill, say)


def right(cache: Cache) -> bool:
    return cache.statistics == {"events": 12} and all(
        np.array_equal(cache.parts[part].batch(np.arange(len(frames))), frames.swapaxes(0, 1))
        and cache.parts[part].labels.tolist() == list(range(len(frames)))
        for part, (frames, _) in PARTS.items()
    )


def complaint(root: Path, fill, **options) -> str:
    with pytest.raises(UserError) as caught:
        open_set(root, fill, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def left_in(root: Path) -> list[str]:
    """What lies there apart from the empty files that are locked."""
    return sorted(p.name for p in root.rglob("*") if not (p.suffix == ".lock" and not p.stat().st_size) and p.is_file())


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """The folder of a cache that has just been built."""
    return open_set(tmp_path, Filler()).folder


def test_a_cache_is_built_once_and_then_read(tmp_path, capsys):
    fill, said = Filler(), []
    for _ in range(3):
        cache = open_set(tmp_path, fill, said.append)
        assert right(cache)
    assert fill.built == 1
    assert said == []
    assert {file.name for file in cache.folder.iterdir()} == FILES
    assert cache.folder.parent == tmp_path / "set"


def test_every_byte_of_every_file_counts(built):
    """Each byte in turn is changed: by its lowest or highest bit, the one that tells letters' case, or all of them."""
    for file in sorted(built.iterdir()):
        good = file.read_bytes()
        for place in range(len(good)):
            bad = bytearray(good)
            bad[place] ^= (0x01, 0x80, 0x20, 0xFF)[place % 4]
            file.write_bytes(bad)
            with pytest.raises(DamagedError, match=file.name):
                opened(built)
        file.write_bytes(good)
    assert right(opened(built))


def flip(file: Path):
    bytes_ = bytearray(file.read_bytes())
    bytes_[len(bytes_) // 2] ^= 4
    file.write_bytes(bytes_)


DAMAGE = {
    "flipped": flip,
    "cut short": lambda file: os.truncate(file, file.stat().st_size - 1),
    "emptied": lambda file: os.truncate(file, 0),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "missing": Path.unlink,
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_said_and_the_cache_built_again(tmp_path, built, damage):
    for number, name in enumerate(sorted(FILES)):
        DAMAGE[damage](built / name)
        fill, said = Filler(), []
        cache = open_set(tmp_path, fill, said.append)
        assert right(cache), (number, name)
        assert (fill.built, cache.folder) == (1, built)
        assert len(said) == 1
        assert str(built) in said[0]
        assert name in said[0]
        assert len(said[0].splitlines()) == 1
        assert {file.name for file in built.iterdir()} == FILES


def test_a_folder_without_anything_in_it_is_no_cache(tmp_path, built):
    shutil.rmtree(built)
    built.mkdir()
    said = []
    assert right(open_set(tmp_path, Filler(), said.append))
    assert len(said) == 1


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"digest": 3}', '"\\ud800"'])
def test_a_description_of_another_form_is_damage(built, text):
    (built / "meta.json").write_text(text)
    with pytest.raises(DamagedError, match="meta"):
        opened(built)


def test_a_cache_of_another_format_is_built_again(tmp_path, built, monkeypatch):
    monkeypatch.setattr(module, "FORMAT", module.FORMAT + 1)
    fill, said = Filler(), []
    assert right(open_set(tmp_path, fill, said.append))
    assert fill.built == 1
    assert "format" in said[0]


@pytest.mark.parametrize(
    ("name", "parameters", "source"),
    [
        ("set", {"T": 4}, "source"),
        ("set", {"T": 3, "clip": True}, "source"),
        ("set", {"T": 3}, "changed"),
        ("other", {"T": 3}, "source"),
    ],
)
def test_other_parameters_or_another_source_take_another_folder(tmp_path, built, name, parameters, source):
    fill = Filler(PARTS | {"train": (SPARSE[:2], "counts")})
    cache = open_set(tmp_path, fill, name=name, parameters=parameters, source=source)
    assert fill.built == 1
    assert cache.folder != built
    assert len(cache.parts["train"].labels) == 2
    assert right(open_set(tmp_path, Filler(fail=AssertionError())))  # still there
    assert others(built) == ([cache.folder] if name == "set" else [])
    assert size_of(built) == sum(len(file.read_bytes()) for file in built.iterdir())


def test_checksum_is_that_of_the_contents(tmp_path, built):
    first = opened(built).checksum
    again = open_set(tmp_path / "elsewhere", Filler(), parameters={"T": 4}, source="other")
    assert again.checksum == first
    more = SPARSE.copy()
    more.reshape(-1)[np.flatnonzero(SPARSE)[0]] += 1
    for parts in (PARTS | {"train": (more, "counts")}, {**PARTS, "train": (SPARSE[::-1], "counts")}):
        assert open_set(tmp_path, Filler(parts), parameters={"n": len(parts), "id": id(parts)}).checksum != first


def test_fingerprint_sees_every_change_of_the_files_and_not_where_they_lie(tmp_path):
    base = tmp_path / "data"
    (base / "a").mkdir(parents=True)
    files = [base / "a" / "1.bin", base / "2.bin"]
    for file in files:
        file.write_bytes(b"1234")
        os.utime(file, ns=(10**18, 10**18))
    first = fingerprint(files, base)
    assert fingerprint(files, base) == first
    moved = tmp_path / "moved"
    shutil.copytree(base, moved)
    assert fingerprint([moved / "a" / "1.bin", moved / "2.bin"], moved) == first
    seen = {first}

    def is_new(listed: list[Path]):
        found = fingerprint(listed, base)
        assert found not in seen
        seen.add(found)

    is_new(files[:1])
    os.utime(files[0], ns=(10**18, 10**18 + 1))
    is_new(files)
    files[0].write_bytes(b"12345")
    os.utime(files[0], ns=(10**18, 10**18))
    is_new(files)
    files[0].rename(base / "a" / "3.bin")
    is_new([base / "a" / "3.bin", files[1]])
    (base / "4.bin").write_bytes(b"")
    os.utime(base / "4.bin", ns=(10**18, 10**18))
    is_new([base / "a" / "3.bin", files[1], base / "4.bin"])


@pytest.mark.parametrize("error", [UserError("a.bin is damaged"), ValueError("no"), KeyboardInterrupt(), MemoryError()])
def test_a_failure_while_filling_leaves_nothing_and_passes_on(tmp_path, error):
    with pytest.raises(type(error)) as caught:
        open_set(tmp_path, Filler(fail=error))
    assert caught.value is error
    assert left_in(tmp_path) == []
    assert [p for p in (tmp_path / "set").iterdir() if p.is_dir()] == []
    assert right(open_set(tmp_path, Filler()))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not say which files are open")
def test_a_failure_while_filling_leaves_no_file_open(tmp_path):
    before = open_files()
    with pytest.raises(ValueError, match="no") as caught:
        open_set(tmp_path, Filler(fail=ValueError("no")))
    assert open_files() == before
    del caught


def test_what_a_dead_process_left_is_cleared(tmp_path, built):
    name, lock = built.name, built.with_suffix(".lock")
    shutil.rmtree(built)
    assert lock.exists()
    partial = tmp_path / "set" / f"{name}.partial"
    (partial / "deep").mkdir(parents=True)
    (partial / "train.positions").write_bytes(b"rubbish")
    (partial / "deep" / "rubbish").write_bytes(b"rubbish")
    assert right(open_set(tmp_path, Filler()))
    assert set(left_in(tmp_path)) == FILES


def test_a_cache_dir_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "deeper"):
        assert "paths.cache_dir" in complaint(root, Filler())


WORKER = """
    import sys, time
    from pathlib import Path
    import numpy as np
    from snnrepro.data.cache import folder_of, open_or_build

    root, seconds, made = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]

    def fill(writer):
        with (root / "builders").open("a") as stream:
            stream.write(f"{made}\\n")
        part = writer("train", (3, 50), "counts")
        part.append(np.eye(3, 50, dtype=np.uint16), 1)
        print("filling", flush=True)
        time.sleep(seconds)
        part.append(np.eye(3, 50, 7, dtype=np.uint16), 2)
        return {"by": made}

    print("ready", flush=True)
    sys.stdin.readline()
    cache = open_or_build(folder_of(root, "set", {}, ""), {}, "", fill, lambda line: print(line, flush=True))
    total = cache.parts["train"].batch(np.array([1, 0, 1])).sum((0, 2)).tolist()
    print(cache.statistics["by"], total, cache.checksum, flush=True)
"""


@pytest.fixture
def start(tmp_path) -> Iterator:
    """Processes that build the same cache; each starts on a line of input and takes so many seconds."""
    script = tmp_path / "worker.py"
    environment = os.environ | {"PYTHONPATH": str(Path(module.__file__).parents[2])}
    script.write_text(textwrap.dedent(WORKER))
    running: list[subprocess.Popen] = []

    def started(count: int, seconds: float) -> list[subprocess.Popen]:
        for _ in range(count):
            words = [sys.executable, str(script), str(tmp_path), str(seconds), f"builder{len(running)}"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            running.append(subprocess.Popen(words, env=environment, **pipes))
        for process in running[-count:]:
            assert process.stdout.readline() == "ready\n"
        return running[-count:]

    yield started
    for process in running:
        process.kill()
        process.communicate()


def go(process: subprocess.Popen):
    process.stdin.write("\n")
    process.stdin.flush()


def test_of_four_processes_one_builds_and_all_read_the_same(tmp_path, start):
    processes = start(4, 0.5)
    for process in processes:
        go(process)
    lines = [process.communicate()[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    builders = (tmp_path / "builders").read_text().split()
    assert len(builders) == 1
    assert {line[-1] for line in lines} == {lines[0][-1]}
    assert lines[0][-1].startswith(f"{builders[0]} [3, 3, 3] ")
    notices = sorted(tuple(line[:-1]) for line in lines)
    assert notices.count(("filling",)) == 1
    assert all("waiting" in line[0] and len(line) == 1 for line in notices if line != ("filling",))


def test_where_a_builder_is_killed_the_one_that_waits_builds(tmp_path, start):
    first, second = start(2, 0.2)
    killed = start(1, 600)[0]
    go(killed)
    assert killed.stdout.readline() == "filling\n"
    for process in (first, second):
        go(process)
        assert "waiting" in process.stdout.readline()
    assert len([p for p in (tmp_path / "set").iterdir() if p.suffix == ".partial"]) == 1
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    last = [process.communicate(timeout=60)[0].splitlines()[-1] for process in (first, second)]
    builders = (tmp_path / "builders").read_text().split()
    assert len(builders) == 2
    assert last[0] == last[1]
    assert last[0].startswith(f"{builders[1]} [3, 3, 3] ")
    assert [p for p in (tmp_path / "set").iterdir() if p.suffix == ".partial"] == []


@pytest.fixture
def disk(tmp_path) -> Iterator:
    """A small disk of its own, mounted with the options given, as in `disk("size=64k")`: its folder."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = 0

    def mount(options: str) -> Path:
        nonlocal mounted
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted += "remount" not in options
        return folder

    yield mount
    gc.collect()  # memory maps keep a disk busy
    for _ in range(mounted):
        subprocess.run(["umount", "-l", folder], check=True)


LARGE = {"train": (np.arange(1, 40_001, dtype=np.uint16).reshape(4, 10, 1000) % 200 + 1, "counts")}


@pytest.mark.parametrize("pages", [1, 3, 6, 10, 11, 20, 31])
def test_a_full_disk_is_one_line_and_leaves_nothing(disk, pages):
    """Full at different moments: the 80 + 40 kB of a sparse form, the 40 kB of the dense one, the description."""
    root = disk(f"size={4 * pages}k")
    message = complaint(root, Filler(LARGE))
    assert "paths.cache_dir" in message
    assert str(root) in message
    assert left_in(root) == []
    assert [p for p in (root / "set").iterdir() if p.is_dir()] == []
    root = disk("remount,size=4m")
    assert open_set(root, Filler(LARGE)).statistics == {"events": 12}


def test_a_disk_that_just_holds_the_cache_is_enough(tmp_path, disk):
    """Nothing is written twice."""
    marks = {"train": ((np.random.default_rng(5).random((20, 4, 5000)) < 0.2).astype(np.uint16), "counts")}
    folder = open_set(tmp_path, Filler(marks)).folder
    pages = sum(-(-file.stat().st_size // 4096) for file in folder.iterdir())
    counts_too = -(-(folder / "train.positions").stat().st_size // 2 // 4096)  # of 1, one byte each: taken away again
    assert pages > 2 * counts_too > 30
    root = disk(f"size={4 * (pages + counts_too + 2)}k")
    assert open_set(root, Filler(marks)).checksum == opened(folder).checksum


@pytest.mark.parametrize("inodes", [1, 2, 3, 4, 5, 7])
def test_a_disk_that_takes_no_more_files_is_one_line(disk, inodes):
    root = disk(f"size=4m,nr_inodes={inodes}")
    assert "paths.cache_dir" in complaint(root, Filler(LARGE))
    assert left_in(root) == []


def test_on_a_read_only_disk_a_cache_is_read_and_none_is_written(disk):
    root = disk("size=4m")
    folder = open_set(root, Filler()).folder
    disk("remount,ro")
    assert right(open_set(root, Filler(fail=AssertionError())))
    for name in ("set", "other"):
        with pytest.raises(UserError, match="cache_dir") as caught:
            open_set(root, Filler(), name=name, parameters={"T": 4})
        assert len(str(caught.value).splitlines()) == 1
    disk("remount,rw")
    flip(folder / "train.counts")
    disk("remount,ro")
    assert "paths.cache_dir" in complaint(root, Filler(), say=lambda line: None)


def test_a_folder_without_permission_to_write_is_one_line(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o555)
    try:
        assert "paths.cache_dir" in complaint(tmp_path, Filler())
    finally:
        tmp_path.chmod(0o755)


def test_the_description_says_what_the_cache_was_made_of(built):
    meta = json.loads((built / "meta.json").read_text())
    assert meta["parameters"] == {"T": 3}
    assert meta["source"] == "source"
    assert meta["statistics"] == {"events": 12}


@pytest.mark.parametrize("block", [1, 7, 2**24])
def test_checksums_are_of_the_whole_file_however_it_is_read(tmp_path, monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    folder = open_set(tmp_path, Filler()).folder
    for name, sealed in json.loads((folder / "meta.json").read_text())["files"].items():
        data = (folder / name).read_bytes()
        assert sealed == {"bytes": len(data), "crc32": zlib.crc32(data)}
    assert right(opened(folder))


def test_an_opened_cache_outlives_its_rebuilding(tmp_path, built):
    """A run that reads keeps its frames while another finds damage and builds anew."""
    reading = opened(built)
    (built / "meta.json").unlink()
    open_set(tmp_path, Filler(), lambda line: None)
    assert right(reading)
