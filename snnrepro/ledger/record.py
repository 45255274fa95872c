"""run.json: the record of one run, in a folder named by the run's identity.

A folder is <runs_dir>/<experiment or dataset-architecture>/<neuron>-<hash8>/seed<k>, hash over the resolved config
without what only says where and on what it runs. run.json is written atomically: `running` at first, then `completed`,
`failed` (with the error) or `interrupted`. It names no absolute path, host or user, so that it can be shared.
"""

import fcntl
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from omegaconf import DictConfig, OmegaConf

from snnrepro.errors import UserError, first_line, printable, without_secrets
from snnrepro.writing import written_whole

FORMAT = 2  # 2: layers, operations, counters; the identity no longer holds the cost model
RESERVE_BYTES = 2**16
CODE = ["train.py", "snnrepro", "configs", "scripts", "pyproject.toml"]
PACKAGES = ["snnrepro", "torch", "torchvision", "torchaudio", "lightning", "hydra-core", "tonic", "numpy"]

# What says where and on what a run runs, not what it is: left out of the identity.
NOT_IDENTITY = {
    "": (
        "seed",
        "paths",
        "logger",
        "overwrite",
        "source",
        "precision",
        "scale",
        "reduced",
        "energy",
        "measure",
        "trust",
    ),
    "trainer": ("accelerator", "progress_bar", "devices", "save_minutes"),
    "dataset": ("num_workers", "epochs"),
}
# Settings younger than some records: left out of the identity at the value that says what was always done.
ADDED_LATER: dict[str, dict[str, Any]] = {"trainer": {"sync_batchnorm": True}, "dataset": {"damaged": "stop"}}


def identity(config: DictConfig, choices: dict[str, str | None]) -> tuple[str, str, str]:
    """(experiment or dataset-architecture, neuron-hash8, seed<k>): equal for equal science, whatever the machine.

    An experiment at scale=reduced is a group of its own: <experiment>-reduced.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    digest = config_hash(plain)
    group_name = choices.get("experiment") or f"{choices['dataset']}-{choices['architecture']}"
    if config.get("scale") == "reduced":
        group_name += "-reduced"
    return group_name, f"{choices['neuron']}-{digest}", f"seed{config.seed}"


def config_hash(plain: dict[str, Any]) -> str:
    """Eight hex digits over a resolved config without what NOT_IDENTITY and ADDED_LATER name."""
    science = {
        key: {
            k: v
            for k, v in value.items()
            if k not in NOT_IDENTITY.get(key, ()) and ADDED_LATER.get(key, {}).get(k, ...) != v
        }
        if isinstance(value, dict)
        else value
        for key, value in plain.items()
        if key not in NOT_IDENTITY[""]
    }
    return hashlib.sha256(json.dumps(science, sort_keys=True).encode()).hexdigest()[:8]


def run_folder(config: DictConfig, choices: dict[str, str | None]) -> Path:
    return Path(config.paths.runs_dir).expanduser().joinpath(*identity(config, choices))


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record in a run's folder, safe to print; None where there is none or it cannot be read."""
    try:
        record = each_text(json.loads((folder / "run.json").read_text()), printable)
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


class Run:
    """A run in progress: a context manager that ends its record, whatever happens inside.

    `ready` is False where there is nothing to do: the run is completed, or cannot be started; why has been printed.
    A mistake of the user (UserError, a full disk) is recorded and printed as one line, any other exception with its
    traceback; neither leaves the context, so that a sweep goes on. Ctrl-C is recorded as interrupted and leaves it.
    Under overwrite=true an earlier run's files stay until `update` says that the new one could be built.
    """

    def __init__(self, config: DictConfig, choices: dict[str, str | None], overrides: list[str]) -> None:
        self.identity = identity(config, choices)
        self.folder = run_folder(config, choices)
        self.ready = False
        self._overwrite: bool = config.overwrite
        self._paths = {name: Path(str(path)).expanduser() for name, path in config.paths.items()}
        self._stale: list[Path] = []
        self._lock: TextIO | None = None
        self._started = time.monotonic()
        plain: Any = OmegaConf.to_container(config, resolve=True)
        plain.pop("paths")
        plain.pop("overwrite")
        self.record: dict[str, Any] = {
            "format": FORMAT,
            "status": "running",
            "error": None,
            "identity": "/".join(self.identity),
            "experiment": choices.get("experiment"),
            "neuron": choices["neuron"],
            "dataset": choices["dataset"],
            "architecture": choices["architecture"],
            "seed": config.seed,
            "protocol": config.protocol,
            "reduced": config.get("reduced"),
            "command": " ".join(
                ["python train.py", *(o for o in overrides if not o.startswith(("paths.", "overwrite=")))]
            ),
            "config": plain,
            "git": git_state(),
            "versions": versions(),
            "device": None,
            "samples": None,
            "metrics": {},
            "units": {},
            "sessions": [],
        }

    def __enter__(self) -> "Run":
        try:
            return self._open()
        except OSError as error:
            self._unlock()
            reason = f"cannot write the run folder {self.folder}: {error.strerror}; set paths.runs_dir"
            print(f"error: {reason}", file=sys.stderr)
            return self

    def _open(self) -> "Run":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("a+")
        try:
            # A record lock: it ends with this process, while loader processes that it forked may live on for seconds;
            # and a network file system knows it on every host.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(self._lock.fileno()).st_nlink == 0:  # its holder has just ended and removed it
                raise BlockingIOError
        except OSError:
            self._lock.seek(0)
            holder = self._lock.readline().strip() or "another process"
            self._lock.close()
            self._lock = None
            print(f"error: {self.folder} is being run by {holder}: wait for it", file=sys.stderr)
            return self
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        # Room for the last record, should the disk be full by then.
        self._lock.write(" " * RESERVE_BYTES)
        self._lock.flush()
        earlier = read_record(self.folder)
        if earlier is not None and not self._overwrite and earlier.get("status") == "completed":
            print(f"already completed, overwrite=true runs it again: {self.folder}")
            priced, wanted = earlier.get("cost_model"), self.record["config"].get("energy", {}).get("name")
            if priced != wanted:
                print(f"its energy is priced by {priced}, not {wanted}: `make report` prices it by every cost model")
            return self
        if self._overwrite:
            self._stale = [file for file in self.folder.rglob("*") if file.is_file() and file.name != "lock"]
        elif earlier is not None:
            self.record["sessions"] = earlier.get("sessions", [])
        self.record["sessions"].append(
            {
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "resumed": False,
                "commit": self.record["git"]["commit"],
                "seconds": None,
            }
        )
        if not self._stale:
            self._write()
        self.ready = True
        return self

    def update(self, facts: dict[str, Any]) -> None:
        """Add what became known of the built run, and write; only now go the files that it overwrites."""
        self._clear()
        self.record.update(facts)
        self._write()

    def goes_on_from(self, epochs: int, batches: int) -> None:
        """The run goes on after so many epochs, and batches of the next one; 0, 0: it starts."""
        self.record["sessions"][-1].update(
            resumed=epochs + batches > 0, epochs_before=epochs, **({"batches_before": batches} if batches else {})
        )
        self._write()

    def complete(self, results: dict[str, Any]) -> None:
        """The run has its metrics. One that is NaN or infinite becomes null and is listed in `nonfinite`; elsewhere in
        the results such a number becomes null.
        """
        self._clear()
        metrics = results.get("metrics", {})
        wrong = sorted(name for name, value in metrics.items() if value is not None and finite(value) is None)
        self._end("completed", None, {**finite(results), **({"nonfinite": wrong} if wrong else {})})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            return self._exit(error)
        finally:
            self._unlock()

    def _exit(self, error: BaseException | None) -> bool:
        if error is None:
            return True
        if isinstance(error, KeyboardInterrupt):
            self._end("interrupted", None)
            saved = (self.folder / "checkpoints" / "last.ckpt").is_file()
            goes_on = "goes on from the last checkpoint" if saved else "starts again, nothing had been saved"
            print(f"interrupted; the same command {goes_on}: {self.folder}", file=sys.stderr)
            return False
        if not isinstance(error, Exception):
            return False
        line = explain(error)
        if line is not None:
            print(f"error: {line}", file=sys.stderr)
        else:
            line = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
            print(without_secrets("".join(traceback.format_exception(error))), end="", file=sys.stderr)
        self._end("failed", self._scrub(line))
        return True

    def _clear(self) -> None:
        for file in self._stale:
            if file.name != "run.json":  # which the next write replaces: there is a record at any moment
                file.unlink(missing_ok=True)
        self._stale = []

    def _end(self, status: str, error: str | None, results: dict[str, Any] | None = None) -> None:
        if self._stale:
            print(f"the earlier run in {self.folder} was kept", file=sys.stderr)
            return
        if not self._is_ours():  # removed meanwhile, as has been said: nothing is left to record
            return
        self.record.update(results or {})
        self.record.update(status=status, error=error)
        self.record["sessions"][-1]["seconds"] = round(time.monotonic() - self._started, 3)
        if self._lock is not None:
            self._lock.truncate(0)
        try:
            self._write()
        except OSError as problem:
            print(f"error: the record could not be written: {problem.strerror}", file=sys.stderr)

    def _is_ours(self) -> bool:
        """Whether the folder is still the one that this run has locked."""
        try:
            return self._lock is None or os.path.samestat(os.fstat(self._lock.fileno()), (self.folder / "lock").stat())
        except OSError:
            return False

    def _scrub(self, text: str) -> str:
        """Without this machine's paths."""
        for name, path in self._paths.items():
            for spelling in (path.resolve(), path.absolute()):
                text = text.replace(str(spelling), f"<{name}>")
        text = text.replace(str(Path.cwd()), ".").replace(str(Path.home()), "~")
        # Any other absolute path keeps its last part only.
        return re.sub(r"(?<![\w<>.~/-])/(?:[^\s/:'\"]+/)+", "", text)

    def _write(self) -> None:
        with written_whole(self.folder / "run.json") as partial, partial.open("w") as file:
            json.dump(each_text(self.record, without_secrets), file, indent=2, allow_nan=False)
            file.write("\n")

    def _unlock(self) -> None:
        if self._lock is not None:
            (self.folder / "lock").unlink(missing_ok=True)
            with suppress(OSError):  # on a full disk what it still holds has no room
                self._lock.close()
            self._lock = None


def each_text(value: Any, change: Callable[[str], str]) -> Any:
    """The same, with every text in it changed, keys too."""
    if isinstance(value, dict):
        return {each_text(key, change): each_text(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [each_text(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value


def finite(value: Any) -> Any:
    """The same, with None for every number in it that JSON does not have or a float cannot hold."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
        return None
    return value


def explain(error: Exception) -> str | None:
    """One line for what a user can mend; None for a fault of the program, which deserves its traceback."""
    text = str(error)
    if "No space left" in text or "unexpected pos" in text:
        return "no space left on the disk: free some, or set paths.runs_dir"
    if isinstance(error, MemoryError) or any(
        words in text for words in ("out of memory", "alloc_cpu", "allocate memory")
    ):
        return "out of memory: lower dataset.batch_size, dataset.num_steps or the size of the architecture"
    if isinstance(error, UserError):
        return text
    if "DataLoader worker" in text:
        reason = text.partition("DataLoader worker")[2].splitlines()[0]
        return (
            f"a loader process ended (worker{reason}): the same command goes on from the last checkpoint; where memory "
            "has run out, lower dataset.num_workers or dataset.batch_size"
        )
    if isinstance(error, OSError):
        return without_secrets(printable(f"{type(error).__name__}: {first_line(error)}"))
    return None


def git_state() -> dict[str, Any]:
    """Commit and dirty flag of the code that runs (new files count, records do not); None where it is no checkout."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    status = git("status", "--porcelain", "--", *CODE)
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
