"""A real Slurm of one node, this machine, started by a test as root on free ports in a folder of its own."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BINARIES = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "squeue", "sinfo", "setpriv")

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1
ReturnToService=2
# Seconds, so that what is stopped or put back into the queue does not keep a test waiting.
KillWait=20
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm_node() -> Iterator[Path]:
    """Start munged, slurmctld and slurmd, point SLURM_CONF at them, and stop all at the end. Gives their folder.

    Skips the test where the programs are missing or this user is not root.
    """
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in BINARIES if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"Slurm is not installed (apt install slurm-wlm munge): no {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("a Slurm of one's own is started as root")
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # short: sockets lie in it
    daemons: list[subprocess.Popen[bytes]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        try:
            _configure(folder)
            munge = folder / "munge"
            files = [f"--{kind}-file={munge / kind}" for kind in ("key", "pid", "seed", "log")]
            daemons.append(_daemon(folder, "munged", "--foreground", "--force", f"--socket={munge}/socket", *files))
            _until((munge / "socket").exists, folder, "munged has no socket")
            daemons.append(_daemon(folder, "slurmctld", "-D", "-i"))
            daemons.append(_daemon(folder, "slurmd", "-D", "-N", _host()))
            _until(lambda: _said("sinfo", "--noheader", "--format=%t") == "idle", folder, "the node is not idle")
            yield folder
        finally:
            _said("scancel", "--signal=KILL", "--state=RUNNING", "--full")
            _said("scancel", "--state=PENDING")
            for daemon in reversed(daemons):
                daemon.terminate()
            for daemon in reversed(daemons):
                try:
                    daemon.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
            shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path) -> None:
    folder.chmod(0o755)
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o755)
    subprocess.run(["mungekey", "--create", f"--keyfile={folder}/munge/key"], check=True)
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], other.getsockname()[1]
    text = CONF.format(host=_host(), folder=folder, controller_port=ports[0], node_port=ports[1])
    (folder / "slurm.conf").write_text(text)


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _daemon(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    with (folder / f"{command[0]}.out").open("wb") as out:
        # It ends with this process, should that be killed.
        command = ("setpriv", "--pdeathsig", "TERM", *command)
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _until(ready: Callable[[], bool], folder: Path, complaint: str) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        if time.monotonic() > deadline:
            tails = {file.name: file.read_text(errors="replace")[-500:] for file in sorted(folder.glob("*.*"))}
            raise RuntimeError(f"{complaint}: {tails}")
        time.sleep(0.1)
