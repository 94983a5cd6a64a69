"""`python -m containers`: the mesh of compose.yaml on a real Docker engine, from the build of its images to the last container.

Uses the Docker daemon at hand. Where none answers and this is root, Debian's is installed and run, with its data in a temporary
folder. Where the image of Python cannot be pulled, one that is as bare is made of Debian's packages, and so is that of PostgreSQL.
Where no engine can be had, it prints why and exits with 0.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lanemesh import Client

from containers import base_image, checks
from containers.engine import NoEngine, engine, say
from containers.project import PROJECT, compose, containers, docker, leftovers, removed_at_end, use_images

PYTHON_IMAGE = "python:3.11-slim"
DATABASE_IMAGE = "postgres:16-alpine"
DATABASE = Path(__file__).parent / "database"
PORT, HTTP_PORT = "17070", "18080"
"""The published ports, which are free even if a mesh of compose.yaml runs on this machine."""


def main() -> int:
    """Runs all checks. 0 if all hold, or if there is no engine."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # cleans up first
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lanemesh-containers-", ignore_cleanup_errors=True) as name:
        try:
            with engine(Path(name)) as own:
                _build(Path(name))
                with removed_at_end():
                    _start()
                    asyncio.run(_check(own=own, folder=Path(name)))
                assert not leftovers(), f"left behind: {', '.join(leftovers())}"
        except NoEngine as error:
            print(f"SKIPPED, the containers were not tested: {error}", flush=True)
            return 0
    say(f"All checks of the containers hold, after {time.monotonic() - began:.0f} s")
    return 0


def _build(folder: Path) -> None:
    """The images, for which that of Python and of a database are pulled or made."""
    python, database = PYTHON_IMAGE, DATABASE_IMAGE
    if not _pulled(python):
        python, database = f"{PROJECT}-python", f"{PROJECT}-database"
        if not _is_here(python):
            base_image.make(python, folder)
    use_images(python, database)
    os.environ |= {"LANEMESH_PORT": PORT, "LANEMESH_HTTP_PORT": HTTP_PORT}
    began = time.monotonic()
    say("Building the images")
    with ThreadPoolExecutor() as pool:
        ours = pool.submit(compose, "build", "text", "orchestrator", "llm")
        if database != DATABASE_IMAGE:
            docker("build", "--quiet", "--tag", database, "--build-arg", f"PYTHON_IMAGE={python}", str(DATABASE))
        ours.result()
    say(f"    built in {time.monotonic() - began:.0f} s")
    checks.sizes(python, PROJECT)


def _is_here(image: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0


def _pulled(image: str) -> bool:
    if _is_here(image):
        return True
    try:
        return subprocess.run(["docker", "pull", "--quiet", image], capture_output=True, timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _start() -> None:
    say("Installing the language model into its volume")
    compose("run", "--rm", "models")
    checks.missing_library(f"{PROJECT}-llm", f"{PROJECT}_models")
    say("Starting the mesh")
    checks.healthy_after_start()
    checks.confined()


async def _check(*, own: bool, folder: Path) -> None:
    gateway = containers("gateway")[0]
    token = docker("exec", gateway, "cat", "/credentials/user-token")
    authority = folder / "ca.pem"
    authority.write_text(docker("exec", gateway, "cat", "/credentials/ca.pem"))
    address = f"127.0.0.1:{PORT}"
    await checks.locked(address, authority)
    async with Client(address, token=token, tls=authority) as client:
        await checks.wait_for_mesh(client)
        say("The chat and the agent through the published port")
        await checks.examples(client)
        say("The chat and the agent through the gateway")
        await checks.through_gateway(f"http://127.0.0.1:{HTTP_PORT}", token)
        for name, check in checks.BEHAVIOURS.items():
            say(f"The part on containers of {name} in docs/conformance.md")
            await check(client)
        say(f"{checks.MEMBERS} containers of one service")
        await checks.scale(client)
        say("A container killed under load")
        await checks.killed(client, own=own)
        say("A container cut off from the network under load")
        await checks.disconnected(client, f"{PROJECT}_mesh")
        say("The database restarted under load")
        await checks.database_restarted(client)
        say("A rolling update under load")
        await checks.rolled(client)


if __name__ == "__main__":
    sys.exit(main())
