"""What has to hold of the mesh of compose.yaml. Each check raises an error that says what does not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lanemesh import Client, Mesh
from lanemesh.faults import LanemeshError

from containers.engine import say
from containers.load import NAME, RUN_SECONDS, Load, loud
from containers.project import ROOT, address_in_mesh, await_healthy, compose, containers, docker, inspect

MIB = 1024 * 1024
BASE_MIB = 180
"""Most MiB of the base image above that of Python."""
LLM_MIB = 120
"""Most MiB of the image with a language model's engine above the base image."""
JOIN_SECONDS = 90.0
"""How long the mesh may take to know of a server that came, went, or cannot be reached."""
MEMBERS = 3


def sizes(python: str, image: str) -> None:
    """The images are small."""
    size = {
        name: json.loads(docker("image", "inspect", name))[0]["Size"] / MIB for name in (python, image, f"{image}-llm")
    }
    base, llm = size[image] - size[python], size[f"{image}-llm"] - size[image]
    say(
        f"The base image adds {base:.0f} MiB to that of Python (at most {BASE_MIB}), llm {llm:.0f} to the base (at most {LLM_MIB})"
    )
    assert base <= BASE_MIB, f"the base image adds {base:.0f} MiB to {python}, of at most {BASE_MIB}"
    assert llm <= LLM_MIB, f"{image}-llm adds {llm:.0f} MiB to {image}, of at most {LLM_MIB}"


def confined() -> None:
    """No server of ours runs as root, has a capability, or can write to its image."""
    for one in containers():
        about = inspect(one)
        service = about["Config"]["Labels"]["com.docker.compose.service"]
        if service == "database":
            continue
        assert about["Config"]["User"] == "10001:10001", f"{service} runs as {about['Config']['User']}"
        assert about["HostConfig"]["ReadonlyRootfs"], f"{service} can write to its image"
        assert about["HostConfig"]["CapDrop"] == ["ALL"], f"{service} has capabilities"


def missing_library(image: str, models: str) -> None:
    """Where a library of Debian is missing, the error of a model's engine names it and its package."""
    script = "rm /usr/lib/*/libgomp.so.1* && lanemesh run chat.pipe --input hello 2>&1 || true"
    without = ["--user", "0", "--env", "PYTHONPATH=/models", "--volume", f"{models}:/models:ro", "--entrypoint", "sh"]
    printed = docker("run", "--rm", *without, image, "-c", script)
    assert "libgomp.so.1: cannot open" in printed, f"the error without libgomp is: {printed}"
    assert "libgomp1" in printed, f"the error without libgomp is: {printed}"


async def locked(address: str, authority: Path) -> None:
    """The orchestrator answers neither without its token nor without TLS."""
    refusals = [await _refusal(address, token, authority) for token in ("", "wrong")]
    assert refusals == ["token-missing", "token-invalid"], f"without a token, and with a wrong one: {refusals}"
    assert await _refusal(address, "", False), "the orchestrator answers without TLS"


async def _refusal(address: str, token: str, tls: Path | bool) -> str:
    """The reason for which a call is refused; empty: it is not."""
    async with Client(address, token=token, tls=tls) as client:
        try:
            await client.node_servers()
        except LanemeshError as error:
            return error.fault.reason
        return ""


async def examples(client: Client) -> None:
    """The chat and the agent answer through the published port."""
    chat = await client.request(
        example("chat"), "Why is the sky blue?", settings={"llm_1.max_tokens": 20}, timeout=120
    ).text()
    assert chat.strip(), "the chat has answered nothing"
    agent = await client.request(example("agent"), "Is it warmer in Oslo or in Lisbon?", timeout=120).text()
    assert "Lisbon" in agent, f"the agent has answered {agent!r}"


def example(name: str) -> Path:
    """A pipeline of the folder of examples. Its files are in the images."""
    return ROOT / "examples" / f"{name}.pipe"


async def through_gateway(url: str, token: str) -> None:
    """The same through the gateway, which wants its token."""
    for name, settings in (("chat", {"llm_1.max_tokens": 20}), ("agent", {})):
        body = {
            "pipeline": json.loads(example(name).read_text()),
            "input": "Why?",
            "settings": settings,
            "detached": False,
        }
        states = [
            event["state"] for event in await asyncio.to_thread(_events, url, token, body) if event["update"] == "job"
        ]
        assert states[-1] == "completed", f"{name} through the gateway: {states}"
    for wrong in ("", "no-token"):
        status = await asyncio.to_thread(_status, url, wrong)
        assert status == 401, f"the gateway answers {status} to the token {wrong!r}"


def _status(url: str, token: str) -> int:
    """The status with which the gateway answers a request for its deployments."""
    request = urllib.request.Request(f"{url}/v1/deployments", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _events(url: str, token: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{url}/v1/runs", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        lines = answer.read().decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


async def members(client: Client, wanted: set[str]) -> None:
    """Waits until the servers of `upper_case` that serve are those at these addresses."""
    serving: set[str] = set()
    try:
        async with asyncio.timeout(JOIN_SECONDS):
            while True:
                servers = [one for one in await client.node_servers() if "upper_case" in one.node_types]
                serving = {one.address for one in servers if one.health == "serving"}
                if serving == wanted:
                    return
                await asyncio.sleep(0.3)
    except TimeoutError:
        raise AssertionError(f"after {JOIN_SECONDS:.0f} s {sorted(serving)} serve, not {sorted(wanted)}") from None


def text_addresses() -> set[str]:
    """The addresses of the containers of `text` in the network of the servers."""
    return {f"{address_in_mesh(one)}:7071" for one in containers("text")}


async def scale(client: Client) -> None:
    """Three containers of one service count as three, and each gets work."""
    compose("up", "--detach", "--no-recreate", "--scale", f"text={MEMBERS}")
    addresses = text_addresses()
    assert len(addresses) == MEMBERS, f"{MEMBERS} containers have the addresses {addresses}"
    await members(client, addresses)
    await client.deploy(NAME[1:], loud(), timeout=RUN_SECONDS)
    async with Load(client) as load:
        await load.await_completed(60)
    assert not load.failed, f"runs failed: {load.failed}"
    work: Counter[str] = Counter()
    for record in await client.runs(limit=50, deployment=NAME[1:]):
        placed = (await client.record(record.run_id)).placements
        work.update(place.address for place in placed if place.component == "upper")
    say(f"    the latest 50 runs were at {dict(work)}")
    assert set(work) == addresses, f"not each of {sorted(addresses)} has had work: {dict(work)}"


async def killed(client: Client, *, own: bool) -> None:
    """A container that is killed under load is restarted, and the others go on."""
    victim = containers("text")[0]
    async with Load(client) as load:
        if own:  # a process that ends by itself is restarted; one that `docker kill` ends is not
            os.kill(inspect(victim)["State"]["Pid"], signal.SIGKILL)
        else:
            docker("kill", victim)
            compose("up", "--detach", "--no-recreate", "--scale", f"text={MEMBERS}")
        await load.await_completed(50)
        await await_containers(MEMBERS)
        await members(client, text_addresses())
        await load.await_completed(20)


async def await_containers(count: int) -> None:
    """Waits until so many containers of `text` run."""
    async with asyncio.timeout(JOIN_SECONDS):
        while True:
            if len(containers("text")) == count:
                return
            await asyncio.sleep(0.3)


async def disconnected(client: Client, network: str) -> None:
    """A container that is cut off under load gets no more runs, and is used again when it is back."""
    victim = containers("text")[0]
    rest = text_addresses() - {f"{address_in_mesh(victim)}:7071"}
    async with Load(client) as load:
        docker("network", "disconnect", network, victim)
        await members(client, rest)
        await load.await_completed(50)
        docker("network", "connect", network, victim)
        await members(client, text_addresses())
        await load.await_completed(20)


async def database_restarted(client: Client) -> None:
    """Runs work again after a restart of the database, and the earlier ones are known."""
    earlier = (await client.runs(limit=1))[0].run_id
    async with Load(client) as load:
        docker("restart", containers("database")[0])
        await load.await_completed(20)
    assert (await client.record(earlier)).state == "completed"
    assert (await client.deployment(NAME[1:])).version == 1


async def rolled(client: Client) -> None:
    """All containers of a service are replaced under load, and no run fails: new ones come, then the old ones drain."""
    old = containers("text")
    async with Load(client) as load:
        compose("up", "--detach", "--no-deps", "--no-recreate", "--scale", f"text={2 * MEMBERS}", "text")
        await members(client, text_addresses())
        for one in old:
            docker("stop", "--time", "30", one)
            docker("rm", one)
        await members(client, text_addresses())
        await load.await_completed(20)
    assert not set(old) & set(containers("text"))
    assert not load.failed, f"the update has lost runs: {load.failed}"


EQUAL_INPUTS = ("a line\nand another", "one, two and three", "Größe ändert sich nicht", "")


async def equal(client: Client) -> None:
    """The same document gives the same outputs embedded, spread over processes and on containers."""
    for document, inputs in _documents():
        outputs: dict[str, Any] = {}
        async with _hosts(client) as hosts:
            for name, host in hosts.items():
                result = await host.run(document, inputs=inputs, timeout=RUN_SECONDS).result()
                outputs[name] = [(one.component, one.port, one.value) for one in result.outputs]
        assert outputs["embedded"], "there are no outputs to compare"
        assert outputs["embedded"] == outputs["spread"] == outputs["containers"], f"the outputs differ: {outputs}"


BEHAVIOURS: dict[str, Callable[[Client], Awaitable[None]]] = {"PIPE-06": equal}
"""By the id of docs/conformance.md: the check that shows the part of a behaviour that needs containers."""


def _documents() -> Iterator[tuple[Any, tuple[str, ...]]]:
    split = {
        "components": [
            {"id": "chat", "provider": "chat"},
            {"id": "split", "provider": "split_text", "input": [{"lane": "text", "from": "chat"}]},
            {"id": "upper", "provider": "upper_case", "input": [{"lane": "text", "from": "split"}]},
            {"id": "out", "provider": "response", "input": [{"lane": "text", "from": "upper"}]},
        ]
    }
    yield split, EQUAL_INPUTS
    yield example("agent"), ("Is it warmer in Oslo or in Lisbon?",)


@asynccontextmanager
async def _hosts(client: Client) -> AsyncIterator[dict[str, Client | Mesh]]:
    async with Mesh() as embedded, Mesh("service") as spread:
        yield {"embedded": embedded, "spread": spread, "containers": client}


async def wait_for_mesh(client: Client) -> None:
    """Waits until the servers of all node types of the examples have joined."""
    async with asyncio.timeout(JOIN_SECONDS):
        while True:
            try:
                faults = [fault for name in ("chat", "agent") for fault in await client.validate(example(name))]
                if not faults:
                    await members(client, text_addresses())
                    return
            except LanemeshError:
                pass  # the orchestrator does not answer yet
            await asyncio.sleep(0.3)


def healthy_after_start() -> None:
    """Starts everything and prints how long it takes until every container is healthy."""
    began = time.monotonic()
    compose("up", "--detach")
    await_healthy()
    seconds, load = time.monotonic() - began, os.getloadavg()[0]
    say(f"Healthy after {seconds:.0f} s (target: 20 on a machine without other load; its load average is {load:.1f})")
