"""A SLURM cluster of one node on this machine, for tests: loopback only, gone afterwards.

Nothing outside its own folder is touched: configuration, key, sockets and state lie there, and
clients find it through SLURM_CONF.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time

# cred_expire also says for how long a requeued job is held back; SLURM's default is two minutes.
CONFIGURATION = """\
ClusterName=leadlinetest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=20
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def reason_against():
    """Say why SLURM cannot be started here; None when it can, by now."""
    if os.geteuid() != 0:
        return "SLURM's daemons need root"
    programs = ("slurmctld", "slurmd", "munged", "sbatch", "squeue")
    if all(map(shutil.which, programs)):
        return None
    if shutil.which("apt-get") is None:
        return "SLURM is not installed, and there is no apt-get"
    quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "capture_output": True}
    subprocess.run(["apt-get", "update", "-qq"], **quiet)
    got = subprocess.run(["apt-get", "install", "-y", "-qq", "slurm-wlm", "munge"], **quiet)
    return f"apt-get cannot install SLURM: {got.stderr.decode()[-200:]}" if got.returncode else None


def free_ports(count):
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


@contextlib.contextmanager
def cluster(folder, cpus=4):
    """Run a cluster for as long as this lasts; gives the environment of its clients."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    # munged insists that nobody else can write to any folder above its socket.
    folder.chmod(0o755)
    configuration = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    configuration.write_text(
        CONFIGURATION.format(host=host, folder=folder, ports=free_ports(2), cpus=cpus)
    )
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    commands = [
        ["munged", "--force", "--foreground", f"--socket={folder}/munge.socket"]
        + [f"--key-file={key}", f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/seed"]
        + [f"--log-file={folder}/munged.log"],
        ["slurmctld", "-D", "-c"],
        ["slurmd", "-D"],
    ]
    daemons = []
    try:
        for command in commands:
            daemons.append(
                subprocess.Popen(
                    command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
            if command[0] == "munged":
                until(lambda: (folder / "munge.socket").exists(), "munged", folder)
        until(lambda: idle(environment), "slurmd", folder)
        yield environment
    finally:
        subprocess.run(["scancel", "--quiet", "--user=root"], env=environment, timeout=30)
        # A step that outlives slurmd would wait for it for ever.
        with contextlib.suppress(RuntimeError):
            until(lambda: not queued(environment), "the end of all jobs", folder)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=20)
            daemon.kill()
            daemon.wait()


def queued(environment):
    told = subprocess.run(
        ["squeue", "--noheader"], env=environment, capture_output=True, text=True, timeout=30
    )
    return told.stdout.split()


def idle(environment):
    told = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"], env=environment, capture_output=True, text=True
    )
    return told.stdout.strip() == "idle"


def until(condition, what, folder, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            logs = "\n".join(path.read_text()[-1500:] for path in folder.glob("*.log"))
            raise RuntimeError(f"{what} did not come up within {seconds} s\n{logs}")
        time.sleep(0.1)
