"""Programs that tests need from Debian's packages."""

import os
import shutil
import subprocess


def install(packages, programs):
    """Install packages unless all programs are there; their daemons aren't started.

    Needs root or sudo.
    """
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    if all(shutil.which(name, path=path) for name in programs):
        return
    root = [] if os.geteuid() == 0 else ["sudo"]
    policy = "/usr/sbin/policy-rc.d"  # what Debian asks before a package starts its daemon
    kept = os.path.exists(policy)
    if not kept:
        write = f"printf '#!/bin/sh\\nexit 101\\n' > {policy} && chmod +x {policy}"
        subprocess.run([*root, "sh", "-c", write], check=True)
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    subprocess.run([*apt, "update"], check=True)
    command = [*apt, "install", "--yes", "--no-install-recommends", *packages.split()]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if not kept:
        subprocess.run([*root, "rm", policy], check=True)
