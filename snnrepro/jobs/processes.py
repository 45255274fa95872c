"""A run's training and test: in this process, or in one for each device, on this machine or on several.

Where there are several, this process only watches over them: it holds the record and the lock, starts the others, and
ends them all when one fails. Under `srun`, or with MASTER_ADDR, MASTER_PORT, NNODES and NODE_RANK set, every task
starts train.py; the first leads, the others follow what it decides.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from snnrepro.errors import UserError, first_line
from snnrepro.ledger.record import Run, explain, identity, run_folder
from snnrepro.place import Place

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

JOIN_SECONDS = 300  # for all tasks of a job to start
STOP_SECONDS = 4  # for a process to end when asked to; what it has saved is whole at any moment
INTERRUPTED = "interrupted"
NEWS_SECONDS = 1  # for the cause to be heard after its consequence: where one process fails, others lose it


class Task(NamedTuple):
    """Which of the tasks that a scheduler started this is, and where the first one listens (port 0: any free one)."""

    rank: int = 0
    world: int = 1
    address: str = "127.0.0.1"
    port: int = 0


def this_task() -> Task:
    """Which of the tasks started together this process is, by the environment.

    Raises UserError where that tells half of it.
    """
    env = os.environ
    try:
        if "SLURM_STEP_ID" in env and int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
            from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

            first = SLURMEnvironment.resolve_root_node_address(env["SLURM_STEP_NODELIST"])
            # Of the step's number too: a job may run several side by side.
            port = 20_000 + (7 * int(env["SLURM_JOB_ID"]) + int(env["SLURM_STEP_ID"])) % 10_000
            return Task(int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"]), first, port)
        if int(env.get("NNODES", "1")) > 1:
            return Task(int(env["NODE_RANK"]), int(env["NNODES"]), env["MASTER_ADDR"], int(env["MASTER_PORT"]))
    except (KeyError, ValueError) as error:
        raise UserError(
            f"the environment says that several tasks run, but not which this is ({first_line(error)}): start them by "
            "srun, or set NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT"
        ) from None
    return Task()


def work(config: DictConfig, run: Run, task: Task) -> None:
    """Train and test what `run` records, and complete its record; nothing where it is not ready."""
    devices = _devices(config) if run.ready else 1
    if devices * task.world > 1:
        _lead(config, run, task, devices)
    elif run.ready:
        from snnrepro.training.session import Session  # torch and Lightning: seconds

        with Session(config, run.folder, run.identity) as session:
            run.update(session.facts)
            run.goes_on_from(*session.resume())
            session.fit()
            run.complete(session.test())


def _devices(config: DictConfig) -> int:
    """How many devices of this machine a run takes."""
    if config.trainer.get("devices", 1) == 1:
        return 1
    from hydra.utils import instantiate

    devices: int = instantiate(config.trainer)().devices
    return devices


def _lead(config: DictConfig, run: Run, task: Task, devices: int) -> None:
    """Start this task's processes, tell the other tasks what to do, and record what comes of it."""
    try:
        store = _store(task.address, task.port, leads=True)
    except RuntimeError as error:
        raise UserError(f"cannot listen on {task.address}:{task.port}: {first_line(error)}") from None
    try:
        store.set("ready", "yes" if run.ready else "no")
        if run.ready:
            with _Members(config, run.folder, run.identity, task, devices, store) as members:
                run.update(members.wait("facts"))
                store.set("go", "")  # only now is nothing of an earlier run left to go on from
                run.goes_on_from(*members.wait("done"))
                results = members.wait("results")
                members.join()
            run.complete(results)
    except BaseException as error:
        _stop_all(store, error)
        raise
    finally:  # with this process its store ends
        _until(lambda: int(store.add("left", 0)) >= task.world - 1, STOP_SECONDS)


def follow(config: DictConfig, choices: dict[str, str | None], task: Task) -> None:
    """Do what the first task says, as another of the same job. Raises UserError where one of its processes fails."""
    try:
        store = _store(task.address, task.port)
        ready = store.get("ready") == b"yes"
    except RuntimeError as error:
        raise UserError(f"the first task, {task.address}:{task.port}, does not answer: {first_line(error)}") from None
    try:
        if ready:
            place = (run_folder(config, choices), identity(config, choices))
            with _Members(config, *place, task, _devices(config), store) as members:
                members.join()
    except BaseException as error:
        _stop_all(store, error)
        raise
    finally:
        with suppress(RuntimeError):
            store.add("left", 1)


def _store(address: str, port: int, *, leads: bool = False) -> Any:
    """What the processes of a run tell each other by: a TCPStore, which ends with the process that leads."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    timeout = timedelta(seconds=JOIN_SECONDS)
    store: Any = TCPStore(address, port, is_master=leads, wait_for_workers=False, timeout=timeout)
    return store


def _stop_all(store: Any, error: BaseException) -> None:
    """Let all tasks end because of this."""
    with suppress(RuntimeError):  # the first task may be gone
        store.set("stop", INTERRUPTED if isinstance(error, KeyboardInterrupt) else first_line(error))


class _Told(NamedTuple):
    """What each process of a run is told: the run, which process it is, and where the first task listens."""

    config: dict[str, Any]
    folder: Path
    identity: tuple[str, str, str]
    place: Place
    address: str
    port: int


class _Members:
    """The processes of one task, one for each device. Leaving the context ends those that still run."""

    def __init__(
        self,
        config: DictConfig,
        folder: Path,
        identity: tuple[str, str, str],
        task: Task,
        devices: int,
        store: Any,
    ) -> None:
        plain: Any = OmegaConf.to_container(config, resolve=True)
        context = get_context("spawn")
        self.store = store
        self.processes: dict[Any, BaseProcess] = {}  # by the pipe on which each is heard
        self.heard: dict[str, Any] = {}
        self.troubles: list[tuple[int, BaseException]] = []  # the smaller the number, the nearer to the cause
        for local in range(devices):
            place = Place(task.rank * devices + local, task.world * devices, local, devices, task.rank, task.world)
            near, far = context.Pipe(duplex=False)
            told = _Told(plain, folder, identity, place, task.address, store.port)
            process = context.Process(
                target=_member, args=(told, far), name=f"process {place.rank + 1} of {place.world}"
            )
            process.start()
            far.close()
            self.processes[near] = process

    def __enter__(self) -> "_Members":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGINT)
        _until(lambda: not self._alive(), STOP_SECONDS)
        for process in self.processes.values():
            process.kill()
            process.join()

    def wait(self, name: str) -> Any:
        """What the first process says under this name. Raises what ends any of them meanwhile."""
        while name not in self.heard:
            self._listen()
        return self.heard[name]

    def join(self) -> None:
        """Until all have ended well. Raises what ends any of them otherwise."""
        while self._alive():
            self._listen()
        self._listen()

    def _alive(self) -> bool:
        return any(process.is_alive() for process in self.processes.values())

    def _listen(self) -> None:
        self._hear(NEWS_SECONDS)
        if self.troubles:
            end = time.monotonic() + NEWS_SECONDS
            while self._alive() and time.monotonic() < end:
                self._hear(0.1)
            raise min(self.troubles, key=lambda trouble: trouble[0])[1]

    def _hear(self, seconds: float) -> None:
        """Take what is said within so many seconds, and what has ended."""
        try:
            if self.store.check(["stop"]):
                why = self.store.get("stop").decode()
                self.troubles.append((1, KeyboardInterrupt() if why == INTERRUPTED else UserError(why)))
        except RuntimeError:
            self.troubles.append((4, UserError("the first task of this job has ended: see what it says")))
        for pipe in connection.wait([pipe for pipe in self.processes if not pipe.closed], seconds):
            assert isinstance(pipe, connection.Connection)
            try:
                self._take(*pipe.recv())
            except (EOFError, OSError):  # it has ended
                pipe.close()
                self.processes[pipe].join(NEWS_SECONDS)
        for process in self.processes.values():
            if code := process.exitcode:
                self.troubles.append((2, UserError(_ended(process.name, code))))

    def _take(self, name: str, content: Any) -> None:
        if name == "mistake":
            self.troubles.append((0, UserError(content)))
        elif name == "fault":
            line, trace = content
            self.troubles.append((3, ProcessError(line, trace)))
        else:
            self.heard[name] = content


class ProcessError(Exception):
    """A fault of the program in one of a run's processes: what its traceback ends with, and the traceback."""

    def __str__(self) -> str:
        return f"{self.args[0]}\n{self.args[1]}"


def _ended(name: str, code: int) -> str:
    if code > 0:
        return f"{name} ended with code {code}"
    memory = "; where memory has run out, lower dataset.batch_size" if code == -signal.SIGKILL else ""
    return f"{name} was killed by signal {-code}: the same command goes on from the last checkpoint{memory}"


def _member(told: _Told, pipe: connection.Connection) -> None:
    """One process of a run: build, fit and test with the others. The first one tells what the record is to hold."""
    # The process that watches over this one decides what a scheduler's signals mean.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    Thread(target=_end_with_parent, daemon=True).start()
    if not told.place.first:
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115

    def tell(name: str, content: Any) -> None:
        if told.place.first or name in ("mistake", "fault"):
            pipe.send((name, content))

    try:
        _run(told, tell)
    except KeyboardInterrupt:
        sys.exit(1)
    except Exception as error:
        if (line := explain(error)) is not None:
            tell("mistake", line)
        else:
            tell("fault", (f"{type(error).__name__}: {first_line(error)}", traceback.format_exc()))
        sys.exit(1)


def _run(told: _Told, tell: Callable[[str, Any], None]) -> None:
    import torch
    from torch import distributed
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    from snnrepro.data.datamodule import usable_cores
    from snnrepro.training.session import Session

    place = told.place
    torch.set_num_threads(max(1, usable_cores() // place.beside))
    store = _store(told.address, told.port)
    with Session(OmegaConf.create(told.config), told.folder, told.identity, place) as session:
        tell("facts", session.facts)
        store.wait(["go"], timedelta(days=1))  # the first process may still be packing data
        tell("done", session.resume())
        on_gpu = session.settings.accelerator == "cuda"
        if on_gpu:
            torch.cuda.set_device(place.local)
        distributed.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=PrefixStore("group", store),
            rank=place.rank,
            world_size=place.world,
        )
        try:
            session.fit()
            results = session.test()
        finally:
            distributed.destroy_process_group()
    tell("results", results)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _until(holds: Callable[[], bool], seconds: float) -> None:
    """Wait until it holds, so many seconds at most."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
