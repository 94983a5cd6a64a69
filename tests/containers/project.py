"""The containers of compose.yaml, under a project name of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from containers.engine import say

ROOT = Path(__file__).parents[2]
PROJECT = "lanemesh-test"
LABEL = f"label=com.docker.compose.project={PROJECT}"
HEALTHY_SECONDS = 300.0
"""How long the containers may take until they are healthy, on a machine with much else to do."""


def docker(*arguments: str) -> str:
    """What a command of docker prints. Raises RuntimeError with its errors if it fails."""
    return _run("docker", *arguments)


def compose(*arguments: str) -> str:
    """The same for a command of compose on this project."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
    name = ["docker", "compose"] if plugin or shutil.which("docker-compose") is None else ["docker-compose"]
    return _run(*name, "--project-name", PROJECT, *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout.strip()


def containers(service: str = "") -> list[str]:
    """The running containers of a service, or of the project, by id."""
    only = ["--filter", f"label=com.docker.compose.service={service}"] if service else []
    return docker("ps", "--quiet", "--no-trunc", "--filter", LABEL, *only).split()


def inspect(container: str) -> Any:
    """What docker knows of a container."""
    return json.loads(docker("inspect", container))[0]


def await_healthy() -> float:
    """Waits until every running container is healthy, and returns the seconds. Raises RuntimeError if that takes too long."""
    began = time.monotonic()
    while True:
        states = {inspect(one)["Name"]: inspect(one)["State"]["Health"]["Status"] for one in containers()}
        waiting = sorted(name for name, state in states.items() if state != "healthy")
        if states and not waiting:
            return time.monotonic() - began
        if time.monotonic() - began > HEALTHY_SECONDS:
            raise RuntimeError(f"not healthy after {HEALTHY_SECONDS:.0f} s: {', '.join(waiting)}")
        time.sleep(0.5)


def address_in_mesh(container: str) -> str:
    """The address of a container in the network of the servers."""
    return str(inspect(container)["NetworkSettings"]["Networks"][f"{PROJECT}_mesh"]["IPAddress"])


def leftovers() -> list[str]:
    """The containers, networks and volumes of the project."""
    found = docker("ps", "--all", "--filter", LABEL, "--format", "container {{.Names}}").splitlines()
    for kind in ("network", "volume"):
        found += docker(kind, "ls", "--filter", LABEL, "--format", f"{kind} {{{{.Name}}}}").splitlines()
    return found


@contextmanager
def removed_at_end() -> Iterator[None]:
    """Removes all that belongs to the project when the context ends; after an error, shows what the servers have logged."""
    compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
    try:
        yield
    except BaseException:
        print(compose("logs", "--tail=30"), flush=True)
        raise
    finally:
        say("Taking it down")
        compose("down", "--volumes", "--remove-orphans", "--timeout", "10")


def use_images(python: str, database: str) -> None:
    """Makes compose build the images under names of the test, from this image of Python, beside this image of a database."""
    os.environ |= {
        "LANEMESH_IMAGE": PROJECT,
        "LANEMESH_PYTHON_IMAGE": python,
        "LANEMESH_DATABASE_IMAGE": database,
        "DOCKER_BUILDKIT": "0",
        "COMPOSE_DOCKER_CLI_BUILD": "0",
    }
