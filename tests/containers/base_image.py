"""An image that is as bare as python:3.11-slim, made by debootstrap of Debian's packages, where that image cannot be pulled."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from containers.engine import NoEngine, say

PACKAGES = ("python3", "python3-venv", "python3-pip", "ca-certificates")
OF_THIS_MACHINE = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pip.conf"))
"""How this machine reaches the package registry, which the build of the images needs too."""
SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))


def make(name: str, folder: Path) -> None:
    """Makes the image `name` in a folder, which has to be on a file system with devices and owners.

    Raises NoEngine with the reason if this machine is not a Debian, or its mirror cannot be reached.
    """
    suite, mirror = _suite(), _mirror()
    say(f"Making {name} of Debian {suite} by debootstrap")
    root = folder / "root"
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(root), mirror]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        raise NoEngine(f"debootstrap failed: {' / '.join(made.stdout.splitlines()[-3:])} {made.stderr.strip()}")
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    (root / "usr/bin/python").symlink_to("python3")
    for file in OF_THIS_MACHINE:
        if file.exists():
            shutil.copyfile(file, root / file.relative_to("/"))
    for kept in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(root / kept)
    with subprocess.Popen(["tar", "--directory", str(root), "--create", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(["docker", "import", "-", name], stdin=tar.stdout, stdout=subprocess.DEVNULL, check=True)
    shutil.rmtree(root)


def _suite() -> str:
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    if release.get("ID") != "debian":
        raise NoEngine("the image of Python can neither be pulled nor made, because this machine is not a Debian")
    return release["VERSION_CODENAME"].strip('"')


def _mirror() -> str:
    """The first archive from which this machine installs packages."""
    for file in SOURCES:
        found = (
            re.search(r"^(?:URIs: |deb (?:\[[^]]*\] )?)(\S+)", file.read_text(), re.MULTILINE)
            if file.exists()
            else None
        )
        if found is not None:
            return found[1]
    raise NoEngine(f"no archive of Debian's packages is named in {' or '.join(map(str, SOURCES))}")
