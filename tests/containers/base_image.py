"""A stand-in for the image python:3.11-slim, made of this machine's own Debian and CPython, as a tar on stdout.

For machines that reach no registry of images:

    python tests/containers/base_image.py | docker import - python:3.11-slim

What it holds: the interpreter that runs this, its standard library and pip; a shell, coreutils, sed and grep; the C library
whole and every library that these need; the certificates and pip's settings for the system.
"""

import io
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
TOOLS = ("dash", "coreutils", "sed", "grep")
LIBRARIES = ("libc6", "libgcc-s1", "libstdc++6", "libgomp1", "ca-certificates")
"""Debian packages that wheels expect although the interpreter does not."""
SETTINGS = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
LIBRARY_FOLDER = "usr/lib/x86_64-linux-gnu"
LEFT_OUT = {"__pycache__", "idlelib", "lib2to3", "test", "tests", "tkinter", "turtledemo"}
ENVIRONMENT_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


def libraries_of(binaries: Iterable[Path]) -> set[Path]:
    """The shared libraries that the dynamic linker loads for any of them."""
    found: set[Path] = set()
    for binary in binaries:
        listing = subprocess.run(["ldd", binary], capture_output=True, text=True).stdout
        found.update(Path(path) for path in re.findall(r"(?:=> |^\s*)(/\S+) \(0x", listing, re.MULTILINE))
    return found


def files_of(package: str) -> list[Path]:
    """What a Debian package has installed, without its documentation."""
    listing = subprocess.run(["dpkg", "-L", package], check=True, capture_output=True, text=True).stdout
    paths = (Path(line) for line in listing.splitlines())
    return [path for path in paths if not path.is_dir() and not path.is_relative_to("/usr/share")]


def standard_library() -> Iterator[tuple[Path, str]]:
    """Files of the standard library and of pip, each with its name in the image."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*")):
        inner = path.relative_to(root)
        kept = LEFT_OUT.isdisjoint(inner.parts) and not inner.parts[0].startswith("config-")
        if inner.parts[0] == "site-packages":
            kept = kept and inner.parts[1:2] == ("pip",)
        if kept and path.is_file():
            yield path, f"usr/local/lib/python{VERSION}/{inner}"


class Image:
    """The tar being written; a name is written once."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._names: set[str] = set()

    def add(self, path: Path, name: str) -> None:
        """A file of this machine, links followed."""
        if name not in self._names and path.exists():
            self._names.add(name)
            self._tar.add(path.resolve(), name, recursive=False)

    def text(self, name: str, content: str) -> None:
        """A file with this content."""
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content.encode()), 0o644
        self._tar.addfile(entry, io.BytesIO(content.encode()))

    def folder(self, name: str, mode: int = 0o755) -> None:
        """An empty folder."""
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._tar.addfile(entry)

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(entry)


def write(image: Image) -> None:
    """All of it."""
    for name in ("usr/bin", "usr/lib", "usr/local/bin", "usr/local/lib", "etc", "root", "proc", "sys", "dev", "run"):
        image.folder(name)
    image.folder("tmp", 0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        image.link(name, "usr/bin" if name.endswith("bin") else "usr/lib")
    interpreter = Path(sys.executable).resolve()
    library = list(standard_library())
    tools = [path for package in TOOLS for path in files_of(package) if path.parent.name == "bin"]
    packaged = [path for package in LIBRARIES for path in files_of(package) if ".so" in path.name]
    loaded = [interpreter, *tools, *packaged, *(path for path, _ in library if path.suffix == ".so")]
    for path in {*packaged, *libraries_of(loaded)}:
        image.add(
            path,
            "usr/lib/ld-linux-x86-64.so.2" if path.name.startswith("ld-linux") else f"{LIBRARY_FOLDER}/{path.name}",
        )
    for path in tools:
        image.add(path, f"usr/bin/{path.name}")
    image.add(Path("/bin/sh"), "usr/bin/sh")
    for path, name in library:
        image.add(path, name)
    image.add(interpreter, f"usr/local/bin/python{VERSION}")
    for name in ("python", "python3"):
        image.link(f"usr/local/bin/{name}", f"python{VERSION}")
    for setting in SETTINGS:
        image.add(Path(setting), setting.lstrip("/"))
    for name, content in ENVIRONMENT_FILES.items():
        image.text(name, content)


def main() -> None:
    """The command line."""
    if sys.stdout.isatty():
        sys.exit(__doc__)
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
        write(Image(tar))


if __name__ == "__main__":
    main()
