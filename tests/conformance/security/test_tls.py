"""Connections with TLS: who is let in, what the others learn, and certificates that change while runs go on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from lanemesh import Client
from lanemesh._grpc.auth.callers import PeerIdentity, peer_identity
from lanemesh._grpc.connections import ConnectionPool, dial
from lanemesh._grpc.security import OPEN, Security
from lanemesh._grpc.server import GrpcServer
from lanemesh.faults import LanemeshError
from lanemesh.server import health
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.doors import Doors
from rigs.runs import NODES, at, line, node

PIPELINE = line(at("left", node("a", "tag", "chat", mark="+")), at("right", node("b", "tag", "a", mark="-")))
"""A chain over two node servers."""
ECHO = "/test.Echo/Echo"


@asynccontextmanager
async def echo(security: Security) -> AsyncIterator[tuple[str, list[PeerIdentity | None]]]:
    """A server with a method that answers with its request: its address, and the identities of its callers."""
    callers: list[PeerIdentity | None] = []

    async def answer(request: bytes, context: Any) -> bytes:
        callers.append(peer_identity(context))
        return request

    async def stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    handlers: dict[str, Any] = {
        "Echo": grpc.unary_unary_rpc_method_handler(answer),
        "Stream": grpc.stream_stream_rpc_method_handler(stream),
    }
    async with GrpcServer(security=security) as server:
        server.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
        await server.start([])
        yield server.address, callers


async def ask(address: str, security: Security) -> bytes:
    """Calls the method once, on a connection of its own."""
    async with dial(address, security=security) as channel:
        return await call_echo(channel)


async def call_echo(channel: grpc.aio.Channel) -> bytes:
    """Calls the method on a connection."""
    method: Any = channel.unary_unary(ECHO)
    answer: bytes = await method(b"hello", timeout=10)
    return answer


async def refused(address: str, security: Security) -> str:
    """Why a connection fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(address, security)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    return caught.value.details() or ""


async def learned(address: str, security: Security, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a client of an orchestrator learns from the failure of its connection."""
    for name, value in security.environment().items():
        monkeypatch.setenv(name, value)
    async with Client(address) as client:
        with pytest.raises(LanemeshError) as caught:
            await client.node_types()
    assert caught.value.fault.reason == "unreachable"
    return caught.value.fault.message


async def test_mtls_lets_in_those_with_a_certificate_and_knows_their_names(doors: Doors) -> None:
    async with echo(doors.tls("orchestrator", mtls=True)) as (address, callers):
        assert await ask(address, doors.tls("node")) == b"hello"
        assert await ask(address, doors.tls("client")) == b"hello"
    assert [str(caller) for caller in callers] == ["spiffe://lanemesh/node/node", "spiffe://lanemesh/client/client"]


async def test_without_mtls_a_client_needs_only_the_authority(doors: Doors) -> None:
    async with echo(doors.tls("orchestrator")) as (address, callers):
        assert await ask(address, Security(ca=doors.certs / "ca.pem")) == b"hello"
    assert callers == [None]


@pytest.mark.conformance("SRV-03")
async def test_an_authority_that_is_not_that_of_the_server_is_refused(
    doors: Doors, own_doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with echo(doors.tls("orchestrator")) as (address, callers):
        stranger = Security(ca=own_doors.certs / "ca.pem")
        assert "CERTIFICATE_VERIFY_FAILED" in await refused(address, stranger)
        assert "is not signed by an authority that LANEMESH_TLS_CA names" in await learned(
            address, stranger, monkeypatch
        )
    assert not callers


async def test_a_client_without_a_certificate_or_of_another_authority_is_refused(
    doors: Doors, own_doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with echo(doors.tls("orchestrator", mtls=True)) as (address, callers):
        await refused(address, Security(ca=doors.certs / "ca.pem"))
        await refused(address, replace(own_doors.tls("client"), ca=doors.certs / "ca.pem"))
        assert "if it also requires a certificate, LANEMESH_TLS_CERT" in await learned(
            address, Security(ca=doors.certs / "ca.pem"), monkeypatch
        )
        assert await ask(address, doors.tls("client")) == b"hello"
    assert len(callers) == 1


async def test_plain_text_to_a_port_with_tls_is_refused(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    async with echo(doors.tls("orchestrator")) as (address, callers):
        await refused(address, OPEN)
        assert "set LANEMESH_TLS_CA" in await learned(address, OPEN, monkeypatch)
    assert not callers


async def test_tls_to_a_port_without_it_is_refused(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    async with echo(OPEN) as (address, callers):
        assert "WRONG_VERSION_NUMBER" in await refused(address, doors.tls("client"))
        assert "The server does not use TLS: unset LANEMESH_TLS_CA" in await learned(
            address, doors.tls("client"), monkeypatch
        )
    assert not callers


async def test_an_expired_certificate_is_refused(own_doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    own_doors.certify("old", days=-1)
    async with echo(own_doors.tls("old", mtls=True)) as (address, callers):
        assert "certificate has expired" in await refused(address, own_doors.tls("client"))
        assert "has expired: renew it" in await learned(address, own_doors.tls("client"), monkeypatch)
    async with echo(own_doors.tls("orchestrator", mtls=True)) as (address, callers):
        await refused(address, own_doors.tls("old"))
    assert not callers


async def test_a_certificate_for_another_host_is_refused_unless_its_name_is_set(own_doors: Doors) -> None:
    own_doors.certify("apart=10.1.2.3")
    async with echo(own_doors.tls("apart")) as (address, _):
        elsewhere = address.replace("127.0.0.1", "127.0.0.9")
        assert elsewhere != address
    security = own_doors.tls("client")
    async with GrpcServer("127.0.0.9", security=own_doors.tls("apart")) as server:
        await server.start([])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(server.address, security)
        assert "Hostname Verification Check failed" in (caught.value.details() or "")
        with pytest.raises(grpc.aio.AioRpcError) as reached:
            await ask(server.address, replace(security, server_name="lanemesh.internal"))
        assert reached.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_new_certificates_are_used_without_a_restart_and_bad_ones_are_not(
    own_doors: Doors, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new = Doors(tmp_path / "new")
    trusts_new = Security(ca=new.certs / "ca.pem")
    trusts_old = Security(ca=own_doors.certs / "ca.pem")
    async with echo(own_doors.tls("node")) as (address, _), dial(address, security=trusts_old) as channel:
        stream: Any = channel.stream_stream("/test.Echo/Stream")()
        await stream.write(b"before")
        assert await stream.read() == b"before"

        (own_doors.certs / "node.key").write_text("damaged")
        assert await ask(address, trusts_old) == b"hello"
        assert await ask(address, trusts_old) == b"hello"
        assert caplog.text.count("the changed files of TLS are not used") == 1
        assert "is not a PEM file" in caplog.text

        for suffix in ("key", "pem"):
            shutil.copy(new.certs / f"node.{suffix}", own_doors.certs / f"node.{suffix}")
        assert await ask(address, trusts_new) == b"hello"
        assert "CERTIFICATE_VERIFY_FAILED" in await refused(address, trusts_old)

        await stream.write(b"after")
        assert await stream.read() == b"after"
        await stream.done_writing()
        assert await stream.code() is grpc.StatusCode.OK


async def test_new_connections_take_new_files(own_doors: Doors, tmp_path: Path) -> None:
    new = Doors(tmp_path / "new")
    pool = ConnectionPool(security=Security(ca=own_doors.certs / "ca.pem"))
    async with echo(new.tls("node")) as (address, _):
        with pytest.raises(grpc.aio.AioRpcError):
            await call_echo(pool.channel(address))
        shutil.copy(new.certs / "ca.pem", own_doors.certs / "ca.pem")
        assert await call_echo(pool.channel(address)) == b"hello"
    await pool.close()


async def test_health_is_checked_by_tls(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    async with echo(doors.locked("orchestrator")) as (address, _):
        for name, value in doors.tls("client").environment().items():
            monkeypatch.setenv(name, value)
        assert await asyncio.to_thread(health.check, address) == "SERVING"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cert": Path("missing.pem")}, "cannot be read"),
        ({"key": "orchestrator.key"}, "are not a certificate and its private key"),
        ({"ca": Path("missing.pem")}, "cannot be read"),
        ({"ca": "auth.toml"}, "is not a PEM file"),
        ({"token_file": Path("missing.token")}, "LANEMESH_TOKEN_FILE names, cannot be read"),
    ],
)
async def test_files_that_cannot_be_used_are_reported_at_the_start(
    doors: Doors, change: dict[str, Any], message: str
) -> None:
    folders = {"orchestrator.key": doors.certs, "auth.toml": doors.folder}
    files: dict[str, Any] = {
        name: folders[value] / value if isinstance(value, str) else doors.folder / value
        for name, value in change.items()
    }
    with pytest.raises(LanemeshError, match=message) as caught:
        GrpcServer(security=replace(doors.tls("node", mtls=True), **files))
    assert caught.value.fault.reason == "bad-security"


@pytest.mark.conformance("SRV-04")
@pytest.mark.parametrize("lock", ["tokens", "mtls", "both"])
async def test_off_loopback_a_server_needs_tls_and_to_know_who_calls(doors: Doors, lock: str) -> None:
    settings = {
        "tokens": replace(doors.tls("node"), auth=doors.auth),
        "mtls": doors.tls("node", mtls=True),
        "both": doors.locked("node"),
    }
    async with GrpcServer("0.0.0.0", security=settings[lock]) as server:
        await server.start([])


@pytest.mark.conformance("SRV-04")
async def test_one_of_them_is_too_little_off_loopback(doors: Doors) -> None:
    for security, message in (
        (doors.tls("node"), "set LANEMESH_AUTH to a file of tokens, or LANEMESH_MTLS=1"),
        (doors.tokens_only(), "set LANEMESH_TLS_CERT and LANEMESH_TLS_KEY"),
    ):
        with pytest.raises(LanemeshError, match=message) as caught:
            GrpcServer("0.0.0.0", security=security)
        assert caught.value.fault.reason == "insecure"


async def test_certificates_change_while_runs_go_on(own_doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    orchestrator = Orchestrator(embedded=False, security=own_doors.locked("orchestrator"))
    await orchestrator.listen()
    joined = []
    for name in ("left", "right"):
        host = NodeHost([load_file(NODES)], name=name, labels={"name": name})
        host.security = own_doors.locked("node")
        joined.append(NodeServer(host, orchestrator=orchestrator.address))
        await joined[-1].start()
        assert joined[-1].registration is not None
        await joined[-1].registration.joined.wait()
    for name, value in own_doors.locked("client", "runner").environment().items():
        monkeypatch.setenv(name, value)
    async with Client(orchestrator.address) as client, client.run(PIPELINE, open_input=True) as run:
        outputs = run.outputs()
        await run.push("x")
        assert (await anext(outputs)).value == "-+x"
        for name in ("orchestrator", "node"):  # of the same authority
            (own_doors.certs / f"{name}.pem").unlink()
            (own_doors.certs / f"{name}.key").unlink()
            own_doors.certify(name)
        assert (await client.run(PIPELINE, input="y").result()).text == "-+y"
        await run.push("z")
        assert (await anext(outputs)).value == "-+z"
        await run.end_input()
    for server in joined:
        await server.stop()
    await orchestrator.close()
