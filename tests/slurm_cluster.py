"""A private SLURM with GPU entries and accounting, on one machine and its loopback.

Real daemons: munged, mariadbd, slurmdbd, slurmctld and slurmd, each with its files in one folder;
nothing outside it is touched. GPUs and memory are entries alone: jobs get CUDA_VISIBLE_DEVICES, but
no device.
Debian's packages, if they are missing, need root or sudo to be installed.

    python tests/slurm_cluster.py start FOLDER && . FOLDER/env.sh
    python tests/slurm_cluster.py stop FOLDER
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import time
from getpass import getuser
from pathlib import Path

from debian import install

PACKAGES = "slurmctld slurmd slurmdbd slurm-client slurm-wlm-basic-plugins munge"
PACKAGES += " mariadb-server-core mariadb-client-core"
# In the order in which they start.
DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd")

SLURM_CONF = """
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={port}
SlurmdPort={port_d}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/slurmctld
SlurmdSpoolDir={folder}/slurmd
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=2,sched_interval=5,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
ReturnToService=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port_dbd}
AccountingStoragePass={folder}/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/linux
SlurmdParameters=config_overrides
SlurmdTimeout=20
KillWait=30
TaskProlog={folder}/bin/task_prolog
OverTimeLimit=0
JobRequeue=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE DefaultTime=60 State=UP
"""

SLURMDBD_CONF = """
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port_dbd}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={port_db}
StorageUser=slurm
StoragePass=private
StorageLoc=slurm
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""

# The plugin's jobstep takes SLURM_CONF out of the environment before it calls srun.
SRUN = """#!/bin/sh
SLURM_CONF={folder}/slurm.conf exec {srun} "$@"
"""

# Jobs are given GPUs that aren't there, so they ask for the CPU.
TASK_PROLOG = """#!/bin/sh
echo "export CUDA_VISIBLE_DEVICES="
"""


class Cluster:
    """One node that takes jobs, and its daemons, which can be killed and started again."""

    def __init__(self, folder, gpus=2, cpus=None, port=26817):
        self.folder = Path(folder).resolve()
        self.values = {
            "folder": self.folder,
            "gpus": gpus,
            "cpus": cpus or os.cpu_count(),
            "memory": 100_000,  # MB that jobs may ask for; nobody counts what they use
            "host": socket.gethostname().partition(".")[0],
            "user": getuser(),
            "port": port,
            "port_d": port + 1,
            "port_dbd": port + 2,
            "port_db": port + 3,
        }

    @property
    def environment(self):
        """Variables for the processes that use the cluster."""
        path = os.environ["PATH"].replace(f"{self.folder}/bin:", "")
        return os.environ | {
            "SLURM_CONF": f"{self.folder}/slurm.conf",
            "PATH": f"{self.folder}/bin:{path}:/usr/sbin:/sbin",
        }

    def run(self, *command, check=True):
        """Run a command of SLURM's; returns what it prints."""
        done = subprocess.run(
            command, env=self.environment, check=check, text=True, capture_output=True, timeout=60
        )
        return done.stdout

    def start(self):
        """Start what isn't running; returns when the node takes jobs."""
        install(PACKAGES, (*DAEMONS, "sbatch"))
        self.configure()
        for daemon in DAEMONS:
            self.start_daemon(daemon)
        self.wait("the node takes no jobs", lambda: self.node_state() in ("idle", "mixed"), 60)

    def configure(self):
        for name in ("bin", "slurmctld", "slurmd", "dev"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        files = {"slurm.conf": SLURM_CONF, "slurmdbd.conf": SLURMDBD_CONF, "bin/srun": SRUN}
        files["bin/task_prolog"] = TASK_PROLOG
        # slurmd drops GPUs without a device file; one that ends in a number becomes its index.
        for number in range(self.values["gpus"]):
            device = self.folder / f"dev/nvidia{number}"
            if not device.is_symlink():
                device.symlink_to("/dev/null")
        last = self.values["gpus"] - 1
        devices = f"Name=gpu File={self.folder}/dev/nvidia" + (f"[0-{last}]" if last else "0")
        files["gres.conf"] = "AutoDetect=off\n" + devices + "\n"
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin".replace(f"{self.folder}/bin:", "")
        srun = shutil.which("srun", path=path)
        for name, text in files.items():
            (self.folder / name).write_text(text.format(**self.values, srun=srun))
        (self.folder / "slurmdbd.conf").chmod(0o600)
        for name in ("srun", "task_prolog"):
            (self.folder / "bin" / name).chmod(0o755)
        key = self.folder / "munge.key"
        if not key.exists():
            key.touch(0o600)
            key.write_bytes(os.urandom(128))
        exports = f"export SLURM_CONF={self.folder}/slurm.conf PATH={self.folder}/bin:$PATH\n"
        (self.folder / "env.sh").write_text(exports)

    def start_daemon(self, name):
        """Start a daemon unless it runs."""
        if self.pid(name):
            return
        folder, host = self.folder, self.values["host"]
        commands = {
            "munged": f"munged --force --key-file={folder}/munge.key --socket={folder}/munge.socket"
            f" --pid-file={folder}/munged.pid --log-file={folder}/munged.log"
            f" --seed-file={folder}/munge.seed",
            "slurmdbd": "slurmdbd",
            "slurmctld": "slurmctld",
            "slurmd": f"slurmd -N {host}",
        }
        if name == "mariadbd":
            self.start_database()
            return
        with open(folder / f"{name}.out", "a") as log:
            subprocess.run(
                commands[name].split(), env=self.environment, check=True, stdout=log, stderr=log
            )
        self.wait(f"{name} does not start", lambda: self.pid(name))
        if name == "slurmdbd":
            self.wait("slurmdbd does not answer", lambda: self.answers(self.values["port_dbd"]))

    def start_database(self):
        folder, port = self.folder, self.values["port_db"]
        data, user = folder / "database", self.values["user"]
        log = open(folder / "mariadbd.out", "a")  # the server keeps it
        if not data.exists():
            subprocess.run(
                ["mariadb-install-db", f"--datadir={data}", f"--user={user}", "--skip-test-db",
                 "--auth-root-authentication-method=normal"],
                check=True, stdout=log, stderr=log,
            )  # fmt: skip
        server = ["mariadbd", "--no-defaults", f"--datadir={data}", f"--port={port}"]
        server += ["--bind-address=127.0.0.1", f"--socket={folder}/db.socket", f"--user={user}"]
        server += [f"--pid-file={folder}/mariadbd.pid", "--innodb-buffer-pool-size=64M"]
        subprocess.Popen(
            server, env=self.environment, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        self.wait("mariadbd does not answer", lambda: self.pid("mariadbd") and self.answers(port))
        grant = "CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY 'private';"
        grant += "GRANT ALL ON slurm.* TO slurm@'127.0.0.1';"
        client = ["mariadb", "--no-defaults", f"--socket={folder}/db.socket", "--user=root"]
        subprocess.run([*client, "--execute", grant], check=True)

    def pid(self, name):
        """Process number of a running daemon, or None."""
        try:
            number = int((self.folder / f"{name}.pid").read_text() or 0)
            comm = Path(f"/proc/{number}/comm").read_text().strip()
        except FileNotFoundError:
            return None
        return number if comm == name else None

    def kill(self, name, how=signal.SIGKILL):
        """Send a running daemon a signal; returns when it is gone."""
        if number := self.pid(name):
            os.kill(number, how)
            self.wait(f"{name} does not end", lambda: not self.pid(name), 30)

    def stop(self):
        """Cancel all jobs and stop the daemons."""
        if self.pid("slurmctld"):
            self.run("scancel", "--user", self.values["user"], check=False)
        for name in reversed(DAEMONS):
            self.kill(name, signal.SIGTERM)

    def node_state(self):
        return self.run("sinfo", "--noheader", "--Node", "--format=%T", check=False).strip()

    @staticmethod
    def answers(port):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    @staticmethod
    def wait(problem, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(problem)
            time.sleep(0.2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["start", "stop"])
    parser.add_argument("folder")
    chosen = parser.parse_args()
    getattr(Cluster(chosen.folder), chosen.what)()
