"""A Docker engine: the one at hand, or one of its own for as long as the test lasts."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEEDED = {
    "dockerd": "docker.io",
    "docker-compose": "docker-compose",
    "iptables": "iptables",
    "ip": "iproute2",
    "debootstrap": "debootstrap",
}
"""Programs of an engine of its own, and Debian's packages with them."""
NO_RULES = b"""*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
"""
"""What `iptables-save` would print where nothing has been set."""
START_SECONDS = 60.0
"""How long the daemon may take until it answers, and until it has ended."""


class NoEngine(Exception):
    """There is no Docker engine here, and none can be had. Says why."""


def say(text: str) -> None:
    """Prints a step of the test."""
    print(f"==> {text}", flush=True)


def answers() -> bool:
    """Whether a Docker daemon answers."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True).returncode == 0


@contextmanager
def engine(folder: Path) -> Iterator[bool]:
    """A Docker engine with compose. Yields whether it is one of its own, with its data in `folder`, which ends with the context.

    Raises NoEngine with the reason if there is none.
    """
    if answers():
        say("Using the Docker engine at hand")
        yield False
        return
    if os.geteuid() != 0:
        raise NoEngine("no Docker daemon answers, and only root can start one")
    _install()
    had_bridge, rules = _has_bridge(), subprocess.run(["iptables-save"], capture_output=True).stdout
    os.environ["DOCKER_HOST"] = f"unix://{folder}/docker.sock"
    say("Starting a Docker daemon")
    with (folder / "log").open("wb") as log, _daemon(folder, log.fileno()) as daemon:
        _await(daemon, folder / "log")
        try:
            yield True
        finally:
            daemon.terminate()
            daemon.wait(START_SECONDS)
            if not had_bridge:  # else another daemon has rules of its own
                subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True)
                subprocess.run(["iptables-restore"], input=rules or NO_RULES, capture_output=True)


def _daemon(folder: Path, log: int) -> subprocess.Popen[bytes]:
    command = ["dockerd", "--host", os.environ["DOCKER_HOST"], "--pidfile", str(folder / "pid")]
    command += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"), "--bip", "10.231.0.1/24"]
    command += ["--default-address-pool", "base=10.232.0.0/16,size=24"]
    # In a session of its own: a signal to the group of this process leaves it there for the cleaning up.
    return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)


def _await(daemon: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while not answers():
        if daemon.poll() is not None or time.monotonic() > until:
            daemon.kill()
            raise NoEngine(f"dockerd does not run here: {' / '.join(log.read_text().splitlines()[-3:])}")
        time.sleep(0.3)


def _install() -> None:
    missing = sorted({package for program, package in NEEDED.items() if shutil.which(program) is None})
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise NoEngine(f"these packages are missing, and there is no apt-get: {', '.join(missing)}")
    say(f"Installing {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        wait = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", *command]
        done = subprocess.run(wait, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise NoEngine(f"apt-get {command[0]} failed: {' / '.join(done.stderr.splitlines()[-3:])}")


def _has_bridge() -> bool:
    return Path("/sys/class/net/docker0").exists()
