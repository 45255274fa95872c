"""Downloads from a server of this process, and archives of every kind: whole, cut short, hostile, in every place."""

import gzip
import hashlib
import importlib.util
import io
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnrepro.data import fetch as module
from snnrepro.data.extract import extract
from snnrepro.data.fetch import Archive, archives, by_hand, fetch, unpack_found
from snnrepro.errors import UserError

BODY = bytes(range(256)) * 2000
FILES = {"a/one.bin": b"1" * 700, "a/deep/two.bin": BODY, "three.txt": b"", "four.txt": b"4\n"}
KINDS = ["zip", "tar", "tar.gz", "tgz", "gz"]
NAMES = ["mnist", "fashion_mnist", "cifar10", "cifar100", "nmnist", "dvs_gesture", "cifar10_dvs", "shd", "ssc", "gsc"]
BY_HAND_ONLY = ["spoken_digits", "spoken_digits_spikes", "imagenet"]
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def complaint(call, *args) -> str:
    with pytest.raises(UserError) as caught:
        call(*args)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too; an empty folder stands as `folder/`."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            found |= {} if any(path.iterdir()) else {f"{name}/": b""}
        else:
            assert stat.S_ISREG(path.lstat().st_mode)
            found[name] = path.read_bytes()
    return found


def pack(file: Path, members: dict[str, bytes]) -> Path:
    """An archive of the kind that the file's name says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.name.endswith(".zip"):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    elif ".tar" in file.name or file.name.endswith(".tgz"):
        with tarfile.open(file, "w" if file.name.endswith(".tar") else "w:gz") as archive:
            for name, data in members.items():
                add(archive, name, data)
    else:
        (data,) = members.values()
        file.write_bytes(gzip.compress(data))
    return file


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    archive.addfile(info, io.BytesIO(data))


def zip_bytes(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def packed(folder: Path, kind: str) -> tuple[Path, dict[str, bytes]]:
    """An archive of this kind, and what it holds."""
    members = {"pack": BODY} if kind == "gz" else FILES
    return pack(folder / f"pack.{kind}", members), members


@contextmanager
def small_files_only(size: int):
    """Let writes beyond this size fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


class Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for the last answer


@pytest.fixture
def serve(monkeypatch):
    """Start a server whose every answer the given function writes; returns its address and the list of requests."""
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def start(answer) -> tuple[str, list[str]]:
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                with suppress(ConnectionError):  # the client goes first in some tests
                    answer(self)

            def log_message(self, *args):
                pass

        server = Server(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/file", asked

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def answering(body: bytes = BODY, declared: int | None = None, halfway=lambda: None):
    def answer(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) if declared is None else declared))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2])
        handler.wfile.flush()
        halfway()
        handler.wfile.write(body[len(body) // 2 :])

    return answer


def wanted(url: str, body: bytes = BODY, algorithm: str = "md5", dataset: str = "nmnist") -> Archive:
    checksum = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
    return Archive(url, "Train.zip", checksum, "NMNIST", "NMNIST", dataset)


# Downloads


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_download_is_checked_and_lies_alone_in_its_folder(serve, data, algorithm):
    url, asked = serve(answering())
    assert fetch(wanted(url, algorithm=algorithm), data) == data / "NMNIST" / "Train.zip"
    assert contents(data) == {"NMNIST/Train.zip": BODY}
    assert asked == ["/file"]


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_wrong_checksum_is_refused_and_nothing_is_left(serve, data, algorithm):
    url, _ = serve(answering(BODY[:-1] + b"!"))
    archive = wanted(url, algorithm=algorithm)
    message = complaint(fetch, archive, data)
    assert f"{len(BODY):,} bytes" in message
    assert archive.checksum in message
    assert contents(data) == {}


def refused_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/file"


def cut_chunks(handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"1000\r\n" + BODY[:100])


FAILURES = {
    "Connection refused": None,
    "404": lambda handler: handler.send_error(404),
    "503": lambda handler: handler.send_error(503),
    "ended after 512,000 of 512,001": answering(declared=len(BODY) + 1),
    "IncompleteRead": cut_chunks,
    "timed out": answering(halfway=lambda: time.sleep(0.6)),
    "the disk has": answering(b"", declared=2**60),
}


@pytest.mark.parametrize("reason", FAILURES)
def test_failed_download_leaves_nothing_and_says_how_to_get_the_file_by_hand(serve, data, monkeypatch, reason):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    url = serve(FAILURES[reason])[0] if FAILURES[reason] else refused_port()
    message = complaint(fetch, wanted(url), data)
    assert message.startswith(f"Train.zip could not be fetched from {url}: ")
    assert reason in message
    assert "urlopen" not in message
    assert by_hand("nmnist") in message
    assert str(data) in message
    assert contents(data) == {}


def test_dead_link_ends_within_half_a_minute():
    assert module.TIMEOUT <= 30


def test_failed_download_of_no_known_data_set_names_the_place_of_the_file(data, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    assert str(data / "NMNIST" / "Train.zip") in complaint(fetch, wanted(refused_port(), dataset=""), data)


def test_file_with_the_right_checksum_is_taken_without_a_request(serve, data):
    url, asked = serve(answering())
    archive = wanted(url)
    fetch(archive, data)
    (data / "NMNIST" / "Train.zip").touch()
    assert fetch(archive, data) == data / "NMNIST" / "Train.zip"
    assert asked == ["/file"]


def test_file_with_another_checksum_is_replaced_once_the_download_is_whole(serve, data):
    (data / "NMNIST").mkdir()
    (data / "NMNIST" / "Train.zip").write_bytes(b"old")
    broken, _ = serve(answering(declared=len(BODY) + 1))
    assert "has another checksum" in complaint(fetch, wanted(broken), data)
    assert contents(data) == {"NMNIST/Train.zip": b"old"}
    whole, _ = serve(answering())
    fetch(wanted(whole), data)
    assert contents(data) == {"NMNIST/Train.zip": BODY}


def test_file_has_its_name_only_when_it_is_whole(serve, data):
    seen = []
    url, _ = serve(answering(halfway=lambda: seen.append((data / "NMNIST").exists())))
    fetch(wanted(url), data)
    assert seen == [False]


def wait_for(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_interrupted_download_leaves_nothing(serve, data):
    def interrupt() -> None:
        wait_for(lambda: any(file.stat().st_size for file in data.glob(".Train.zip.*")))
        os.kill(os.getpid(), signal.SIGINT)
        wait_for(lambda: not any(data.iterdir()))

    url, _ = serve(answering(halfway=interrupt))
    with pytest.raises(KeyboardInterrupt):
        fetch(wanted(url), data)
    assert contents(data) == {}


def test_full_disk_leaves_nothing(serve, data):
    url, _ = serve(answering())
    with small_files_only(len(BODY) // 2):
        message = complaint(fetch, wanted(url), data)
    assert "File too large" in message
    assert contents(data) == {}


def test_what_a_killed_download_left_is_removed(serve, data):
    (data / ".Train.zip.1.partial").write_bytes(b"half")
    (data / ".Train.zip.txt").write_bytes(b"the user's")
    url, _ = serve(answering())
    fetch(wanted(url), data)
    assert contents(data) == {"NMNIST/Train.zip": BODY, ".Train.zip.txt": b"the user's"}


@pytest.mark.parametrize("terminal", ["1", "0"])
@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_shown_to_people_only(serve, data, monkeypatch, capsys, terminal, progress):
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    url, _ = serve(answering(zip_bytes(FILES)))
    file = fetch(wanted(url, zip_bytes(FILES)), data, progress)
    extract(file, data, progress)
    out, err = capsys.readouterr()
    assert out == ""
    if terminal == "1" and progress:
        assert "fetching Train.zip" in err
        assert "unpacking Train.zip" in err
    else:
        assert err == ""


# Archives


@pytest.mark.parametrize("kind", KINDS)
def test_archive_is_unpacked_exactly(data, tmp_path, kind):
    file, members = packed(tmp_path, kind)
    assert extract(file, data / "to" / "here") == len(members)
    assert contents(data) == {f"to/here/{name}": body for name, body in members.items()}


def test_kind_is_told_by_the_name_in_any_case(data, tmp_path):
    file = packed(tmp_path, "tar.gz")[0].rename(tmp_path / "PACK.TAR.GZ")
    assert extract(file, data) == len(FILES)


def test_folder_and_files_get_the_usual_permissions(data, tmp_path):
    extract(packed(tmp_path, "zip")[0], data / "new")
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "file").touch()
    assert (data / "new").stat().st_mode == (data / "new" / "a").stat().st_mode == plain.stat().st_mode
    assert (data / "new" / "four.txt").stat().st_mode == (plain / "file").stat().st_mode


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_names_that_begin_with_a_dot_and_folders_are_taken(data, tmp_path, kind):
    file, folders = tmp_path / f"words.{kind}", (".", "./yes", "./empty")
    if kind == "zip":
        pack(file, {f"{name}/": b"" for name in folders} | {"./yes/1.wav": b"yes"})
    else:
        with tarfile.open(file, "w:gz") as archive:
            for name in folders:
                add(archive, name, kind=tarfile.DIRTYPE)
            add(archive, "./yes/1.wav", b"yes")
    assert extract(file, data) == 1
    assert contents(data) == {"yes/1.wav": b"yes"}


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_second_call_writes_what_is_missing_or_of_another_size_only(data, tmp_path, kind):
    file, _ = packed(tmp_path, kind)
    extract(file, data)
    kept = b"2" * len(FILES["a/deep/two.bin"])
    (data / "a" / "deep" / "two.bin").write_bytes(kept)
    (data / "a" / "one.bin").write_bytes(b"short")
    (data / "four.txt").unlink()
    (data / "a" / "mine.txt").write_bytes(b"mine")
    assert extract(file, data) == len(FILES)
    assert contents(data) == FILES | {"a/deep/two.bin": kept, "a/mine.txt": b"mine"}


@pytest.mark.parametrize("kind", KINDS)
def test_unpacking_again_needs_no_room(data, tmp_path, kind):
    file, members = packed(tmp_path, kind)
    extract(file, data)
    with small_files_only(0):
        assert extract(file, data) == len(members)


def test_zip_of_zips_is_unpacked_to_the_bottom_and_the_inner_zips_are_not_kept(data, tmp_path):
    inner = {f"{name}.zip": zip_bytes({f"{name}/{i}.aedat4": name.encode() for i in range(2)}) for name in CLASSES}
    file = pack(tmp_path / "CIFAR10DVS.zip", inner)
    assert extract(file, data) == 20
    assert contents(data) == {f"{name}/{i}.aedat4": name.encode() for name in CLASSES for i in range(2)}


@pytest.mark.parametrize(
    "members",
    [{"x.zip": zip_bytes(FILES), "readme.txt": b"2"}, {"folder/x.zip": zip_bytes(FILES)}],
)
def test_zip_beside_other_files_is_a_plain_file(data, tmp_path, members):
    extract(pack(tmp_path / "pack.zip", members), data)
    assert contents(data) == members


def test_zip_of_zips_is_unpacked_one_level_down_and_no_further_since_a_zip_can_hold_itself(data, tmp_path):
    innermost = zip_bytes(FILES)
    extract(pack(tmp_path / "pack.zip", {"y.zip": zip_bytes({"x.zip": innermost})}), data)
    assert contents(data) == {"x.zip": innermost}


def symlink(archive: zipfile.ZipFile, name: str, target: str, kind: int = stat.S_IFLNK) -> None:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    archive.writestr(info, target)


def with_links(folder: Path, kind: str, links: dict[str, str], hard: bool = False) -> Path:
    file = folder / f"links.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a/real.txt", b"real")
            for name, target in links.items():
                symlink(archive, name, target)
    else:
        with tarfile.open(file, "w:gz") as archive:
            add(archive, "a/real.txt", b"real")
            for name, target in links.items():
                add(archive, name, kind=tarfile.LNKTYPE if hard else tarfile.SYMTYPE, link=target)
    return file


@pytest.mark.parametrize(("kind", "hard"), [("zip", False), ("tar.gz", False), ("tar.gz", True)])
def test_links_inside_become_copies(data, tmp_path, kind, hard):
    links = {"b/near": "a/real.txt" if hard else "../a/real.txt", "b/far": "b/near" if hard else "near"}
    assert extract(with_links(tmp_path, kind, links, hard), data) == 3
    assert contents(data) == dict.fromkeys(["a/real.txt", "b/near", "b/far"], b"real")


@pytest.mark.parametrize(("kind", "hard"), [("zip", False), ("tar.gz", False), ("tar.gz", True)])
@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret", "missing", "a", ".", "bad", ""])
def test_link_to_anything_but_a_file_of_the_archive_is_refused(data, tmp_path, kind, hard, target):
    (tmp_path / "secret").write_bytes(b"secret")
    file = with_links(tmp_path, kind, {"bad": target}, hard)
    message = complaint(extract, file, data / "new")
    assert str(file) in message
    assert "'bad' is a link to" in message
    assert contents(data) == {}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize(
    "name", ["../out.txt", "a/../../out.txt", "{outside}/out.txt", "..\\out.txt", "C:\\out.txt", "C:out.txt"]
)
def test_member_that_leads_outside_is_refused_before_anything_is_written(data, tmp_path, kind, name):
    name = name.format(outside=tmp_path)
    file = pack(tmp_path / f"bad.{kind}", {"good.txt": b"good", name: b"bad"})
    before = contents(tmp_path)
    message = complaint(extract, file, data / "new")
    assert str(file) in message
    assert repr(name) in message
    assert contents(tmp_path) == before


def test_line_break_in_a_members_name_stays_out_of_the_message(data, tmp_path):
    file = pack(tmp_path / "bad.tar", {"../one\ntwo": b""})
    assert "one\\ntwo" in complaint(extract, file, data)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"])
def test_device_in_a_tar_is_refused(data, tmp_path, kind):
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        add(archive, "good.txt", b"good")
        add(archive, "dev/null", kind=kind)
    if kind != b"Z":  # a type unknown to tarfile counts as a plain file
        assert "'dev/null' is a device" in complaint(extract, tmp_path / "bad.tar", data)
        assert contents(data) == {}


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_device_in_a_zip_is_refused(data, tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        symlink(archive, "pipe", "", kind)
    assert "'pipe' is a device" in complaint(extract, tmp_path / "bad.zip", data)
    assert contents(data) == {}


def test_hostile_member_of_an_inner_zip_is_refused(data, tmp_path):
    inner = {"good.zip": zip_bytes({"good.txt": b"good"}), "bad.zip": zip_bytes({"../out.txt": b"bad"})}
    message = complaint(extract, pack(tmp_path / "outer.zip", inner), data)
    assert "outer.zip" in message
    assert "'../out.txt'" in message
    assert contents(data) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_archive_cut_short_anywhere_is_refused_and_leaves_nothing(data, tmp_path, kind):
    whole = packed(tmp_path, kind)[0].read_bytes()
    file = tmp_path / f"cut.{kind}"
    # A tar ends with a block of zeros; what follows that only fills it up.
    end = len(whole) if kind != "tar" else whole.rindex(b"4\n") + 2 * 512
    for length in {0, 1, 100, 512, 600, end // 3, end // 2, end - 600, end - 512, end - 20, end - 5, end - 1}:
        file.write_bytes(whole[:length])
        message = complaint(extract, file, data / "new")
        assert f"{file} is damaged or cut short (" in message
        assert "get it again" in message
        assert contents(data) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_web_page_under_an_archives_name_is_refused(data, tmp_path, kind):
    file = tmp_path / f"pack.{kind}"
    file.write_bytes(b"<!doctype html>" + b"\n<p>Sign in" * 500)
    assert "is damaged" in complaint(extract, file, data)


def test_broken_header_amid_a_tar_is_no_end(data, tmp_path):
    file, _ = packed(tmp_path, "tar")
    whole = bytearray(file.read_bytes())
    whole[whole.index(b"three.txt") + 150] ^= 1  # in its checksum
    file.write_bytes(whole)
    assert "no end after 2 files" in complaint(extract, file, data)
    assert contents(data) == {}


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "gz"])
def test_changed_byte_is_noticed_by_the_archives_own_checksum(data, tmp_path, kind):
    file = pack(tmp_path / f"pack.{kind}", {"pack": os.urandom(5000)})
    whole = bytearray(file.read_bytes())
    whole[2500] ^= 1  # random bytes are stored as they are
    file.write_bytes(whole)
    assert "is damaged" in complaint(extract, file, data)
    assert contents(data) == {}


def test_encrypted_zip_is_refused(data, tmp_path):
    file, _ = packed(tmp_path, "zip")
    whole = bytearray(file.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        whole[whole.index(mark) + place] |= 1
    file.write_bytes(whole)
    assert "is damaged" in complaint(extract, file, data)


def test_broken_lzma_in_a_zip_is_refused(data, tmp_path):
    with zipfile.ZipFile(tmp_path / "pack.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("pack", BODY)
    whole = bytearray((tmp_path / "pack.zip").read_bytes())
    whole[38] = 255  # its properties
    (tmp_path / "pack.zip").write_bytes(whole)
    assert "is damaged" in complaint(extract, tmp_path / "pack.zip", data)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("size", [-512, -1024, 2**40, 2**80])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE])
def test_absurd_size_in_a_tar_is_refused_and_does_not_run_for_ever(data, tmp_path, kind, size):
    info = tarfile.TarInfo("bad")
    info.size, info.type = size, kind
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        add(archive, "good.txt", b"good")
        add(archive, "good.bin", b"good" * 1000)
        archive.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
    assert str(tmp_path / "bad.tar") in complaint(extract, tmp_path / "bad.tar", data)
    assert contents(data) == {}


@pytest.mark.parametrize("name", ["", ".", "./."])
def test_member_without_a_name_is_refused(data, tmp_path, name):
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        add(archive, name, b"bad")
    assert "without a name" in complaint(extract, tmp_path / "bad.tar", data / "new")
    assert contents(data) == {}


def test_zero_byte_in_a_name_is_refused(data, tmp_path):
    with tarfile.open(tmp_path / "bad.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("good")
        info.pax_headers = {"path": "b\0ad"}
        archive.addfile(info)
    assert "bad.tar is damaged" in complaint(extract, tmp_path / "bad.tar", data)
    assert contents(data) == {}


def forged(folder: Path, **fields: int) -> Path:
    """A zip whose directory says other things of its one member than are so."""
    with zipfile.ZipFile(folder / "forged.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.bin", b"0" * 10_000)
        for field, value in fields.items():
            setattr(archive.filelist[0], field, value)
    return folder / "forged.zip"


@pytest.mark.parametrize("place", [5, 150, 2**40, 2**63 + 5])
def test_member_that_is_not_where_the_directory_says_is_refused(data, tmp_path, place):
    assert "is damaged" in complaint(extract, forged(tmp_path, header_offset=place), data)
    assert contents(data) == {}


def test_archive_that_would_fill_the_disk_is_refused(data, tmp_path):
    message = complaint(extract, forged(tmp_path, file_size=2**50), data)
    assert f"{2**50:,} bytes" in message
    assert contents(data) == {}


@pytest.mark.parametrize("size", [9_999, 10_001])
def test_member_of_another_size_than_declared_is_refused(data, tmp_path, size):
    assert "is damaged" in complaint(extract, forged(tmp_path, file_size=size), data)
    assert contents(data) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_disk_that_fills_up_leaves_nothing(data, tmp_path, kind):
    file, _ = packed(tmp_path, kind)
    with small_files_only(1000):
        message = complaint(extract, file, data / "new")
    assert "could not be unpacked" in message
    assert "File too large" in message
    assert contents(data) == {}


def test_interrupted_unpacking_leaves_nothing(data, tmp_path):
    file = pack(tmp_path / "many.zip", {f"folder/{i}.bin": b"0" * 2000 for i in range(8000)})
    code = "import sys, pathlib; from snnrepro.data.extract import extract; extract(*map(pathlib.Path, sys.argv[1:]))"
    with subprocess.Popen([sys.executable, "-c", code, str(file), str(data)], stderr=subprocess.PIPE) as process:
        wait_for(lambda: any(data.glob(".many.zip.*.partial/files/folder/5.bin")))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert b"KeyboardInterrupt" in err
    assert contents(data) == {}


def test_what_a_killed_unpacking_left_is_removed(data, tmp_path):
    file, _ = packed(tmp_path, "zip")
    (data / ".pack.zip.1.partial" / "files").mkdir(parents=True)
    (data / ".pack.zip.1.partial" / "files" / "one.bin").write_bytes(b"half")
    (data / ".pack.zip.tar.1.partial").mkdir()
    extract(file, data)
    assert contents(data) == FILES | {".pack.zip.tar.1.partial/": b""}


@pytest.mark.parametrize(("name", "reason"), [("pack.rar", "none of .zip"), ("missing.zip", "No such file")])
def test_what_is_no_archive_gives_one_line(data, tmp_path, name, reason):
    (tmp_path / "pack.rar").touch()
    assert reason in complaint(extract, tmp_path / name, data)


@pytest.mark.parametrize("blocked", ["", "a", "four.txt"])
def test_file_where_a_folder_belongs_gives_one_line(data, tmp_path, blocked):
    file, _ = packed(tmp_path, "zip")
    destination = data / "new"
    if blocked == "four.txt":
        (destination / blocked / "folder").mkdir(parents=True)
    elif blocked:
        destination.mkdir()
        (destination / blocked).write_bytes(b"mine")
    else:
        destination.write_bytes(b"mine")
    assert "could not be unpacked" in complaint(extract, file, destination)
    assert not [name for name in contents(data) if "partial" in name]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, derandomize=True, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 2**20), st.integers(1, 255)), min_size=1, max_size=4))
def test_any_changed_bytes_give_an_archive_or_one_line_and_nothing_outside(tmp_path_factory, kind, changes):
    folder = tmp_path_factory.mktemp("fuzz")
    members = {"pack": b"ab" * 300} if kind == "gz" else {"a/one.bin": b"ab" * 300, "two.txt": b"2"}
    whole = bytearray(pack(folder / f"pack.{kind}", members).read_bytes())
    for where, mask in changes:
        whole[where % len(whole)] ^= mask
    (folder / f"pack.{kind}").write_bytes(whole)
    count, line = 0, ""
    try:
        count = extract(folder / f"pack.{kind}", folder / "in" / "to")
    except UserError as error:
        line = str(error)
    assert len(line.splitlines()) <= 1
    found = contents(folder)
    found.pop(f"pack.{kind}")
    assert len(found) == count
    assert all(name.startswith("in/to/") for name in found)


# Data sets


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_an_address_a_checksum_and_a_place(name):
    files = archives(name)
    assert files
    assert len({file.name for file in files}) == len(files)
    for file in files:
        assert re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", file.checksum)
        assert re.fullmatch(r"https?://[\w.-]+/\S+", file.url)
        assert file.dataset == name
        assert not Path(file.folder).is_absolute()


@pytest.mark.parametrize("name", [*NAMES, *BY_HAND_ONLY])
def test_every_data_set_says_in_one_line_where_to_get_it_and_where_to_put_it(name):
    line = by_hand(name)
    assert len(line.splitlines()) == 1
    assert "https://" in line
    assert re.search(r"\bput\b|in the data folder", line)
    assert bool(archives(name)) == (name in NAMES)


def test_files_are_as_many_as_the_data_set_has():
    assert [len(archives(name)) for name in NAMES] == [4, 4, 1, 1, 2, 2, 1, 2, 3, 1]
    assert [file.name for file in archives("mnist")] == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ]
    assert archives("gsc")[0].url.endswith("/speech_commands_v0.02.tar.gz")


def test_checksums_are_those_that_spikingjelly_knows_too():
    spec = importlib.util.find_spec("spikingjelly")
    known = "".join((Path(spec.origin).parent / "datasets" / f"{name}.py").read_text() for name in ("n_mnist", "shd"))
    for file in [*archives("nmnist"), *archives("shd")]:
        assert file.checksum.removeprefix("md5:") in known
    gesture = (Path(spec.origin).parent / "datasets" / "dvs128_gesture.py").read_text()
    assert re.search(r"md5 (\w{32})", by_hand("dvs_gesture"))[1] in gesture


@pytest.mark.parametrize("call", [archives, by_hand, lambda name: unpack_found(name, Path())])
def test_unknown_name_is_answered_with_the_nearest(call):
    assert "nmnist" in complaint(call, "n_mnist")


def two(*names: str) -> dict[str, bytes]:
    return {f"{name}/{i}.x": name.encode() for name in names for i in range(2)}


IDX = "train-images-idx3-ubyte"
# data set, the archive's place, what it holds, and the folder where the readers look for that.
LAYOUTS = [
    ("mnist", f"MNIST/{IDX}.gz", {IDX: b"idx"}, "MNIST/raw"),
    ("fashion_mnist", f"FashionMNIST/{IDX}.gz", {IDX: b"idx"}, "FashionMNIST/raw"),
    ("cifar10", "cifar-10-python.tar.gz", two("cifar-10-batches-py"), "."),
    ("cifar10", "cifar-10-binary.tar.gz", two("cifar-10-batches-bin"), "."),
    ("cifar100", "cifar-100-python.tar.gz", two("cifar-100-python"), "."),
    ("nmnist", "NMNIST/train.zip", two("Train/0", "Train/1"), "NMNIST"),
    ("nmnist", "NMNIST/Test.zip", two("Test/0", "Test/1"), "NMNIST"),
    ("nmnist", "NMNIST/download/Train.zip", two("Train/0", "Train/1"), "NMNIST"),
    ("nmnist", "N-MNIST/test.zip", two("Test/0", "Test/1"), "NMNIST"),
    ("dvs_gesture", "DVSGesture/ibmGestureTrain.tar.gz", two("ibmGestureTrain/user01_led"), "DVSGesture"),
    ("dvs_gesture", "ibmGestureTest.tar.gz", two("ibmGestureTest/user24_led"), "DVSGesture"),
    ("dvs_gesture", "DvsGesture.tar.gz", two("DvsGesture"), "."),
    ("dvs_gesture", "DVS128Gesture/download/DvsGesture.tar.gz", two("DvsGesture"), "."),
    ("cifar10_dvs", "CIFAR10DVS/CIFAR10DVS.zip", {"cat.zip": zip_bytes(two("cat"))}, "CIFAR10DVS"),
    ("cifar10_dvs", "CIFAR10DVS/airplane.zip", two("airplane"), "CIFAR10DVS"),
    ("cifar10_dvs", "CIFAR10DVS/download/truck.zip", two("truck"), "CIFAR10DVS"),
    ("shd", "SHD/shd_train.h5.zip", {"shd_train.h5": b"h5"}, "SHD"),
    ("shd", "SHD/download/shd_test.h5.zip", {"shd_test.h5": b"h5"}, "SHD"),
    ("shd", "hdspikes/shd_train.h5.gz", {"shd_train.h5": b"h5"}, "SHD"),
    ("ssc", "ssc_valid.h5.zip", {"ssc_valid.h5": b"h5"}, "SSC"),
    ("ssc", "SSC/ssc_test.h5.gz", {"ssc_test.h5": b"h5"}, "SSC"),
    ("gsc", "speech_commands_v0.02.tar.gz", two("yes", "no"), "SpeechCommands/speech_commands_v0.02"),
    ("gsc", "SpeechCommands/speech_commands_v0.01.tar.gz", two("yes"), "SpeechCommands/speech_commands_v0.01"),
]


@pytest.mark.parametrize(("name", "place", "members", "folder"), LAYOUTS, ids=[row[1] for row in LAYOUTS])
def test_archive_that_is_there_is_unpacked_to_where_the_readers_look(data, name, place, members, folder):
    archive = pack(data / place, members)
    assert unpack_found(name, data) == [archive]
    if "cat.zip" in members:
        members = two("cat")
    expected = {(Path(folder) / member).as_posix(): body for member, body in members.items()}
    assert contents(data) == expected | {place: archive.read_bytes()}
    assert unpack_found(name, data) == []
    for member in expected:
        (data / member).unlink()
        break
    assert unpack_found(name, data) == [archive]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_fetched_is_found_and_unpacked_to_the_same_place(data, name):
    for file in archives(name):
        if file.extract_to is not None:
            archive = pack(data / file.folder / file.name, {Path(file.name).stem: b"x"})
            assert unpack_found(name, data) == [archive]
            assert (data / file.extract_to / Path(file.name).stem).read_bytes() == b"x"


@pytest.mark.parametrize("name", [*NAMES, *BY_HAND_ONLY])
def test_nothing_there_is_nothing_unpacked(tmp_path, name):
    assert unpack_found(name, tmp_path / "no folder") == []
    assert contents(tmp_path) == {}


def test_archives_of_common_names_in_the_data_folder_itself_are_left_alone(data):
    for file in ("train.zip", "Test.zip", "cat.zip", f"{IDX}.gz"):
        pack(data / file, {"x": b"x"})
    before = contents(data)
    assert [unpack_found(name, data) for name in NAMES] == [[]] * len(NAMES)
    assert contents(data) == before


def test_damaged_archive_that_is_there_is_named(data):
    pack(data / "SHD" / "shd_train.h5.zip", {"shd_train.h5": b"h5"})
    (data / "SHD" / "shd_test.h5.zip").write_bytes(b"half")
    assert "shd_test.h5.zip is damaged" in complaint(unpack_found, "shd", data)
