"""`lanemesh gateway` and `lanemesh up`: a mesh, or pipelines of one's own, on the web."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lanemesh._aio.backoff import Backoff
from lanemesh._grpc.connections import is_loopback
from lanemesh._grpc.security import Security
from lanemesh.client.client import Client
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.pipeline_faults import PipelineInvalid

from lanemesh_orchestrator.cli.exits import CommandError, ExitCode, InvalidPipeline
from lanemesh_orchestrator.cli.input.documents import parse_settings, read_pipeline
from lanemesh_orchestrator.cli.input.hosts import HostOptions, open_host
from lanemesh_orchestrator.cli.input.tokens import read_token, read_webhook_secrets
from lanemesh_orchestrator.cli.options import DEFAULT_MESH

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost

    from lanemesh_orchestrator.http_server.server import HttpServer
    from lanemesh_orchestrator.orchestrator_process import Beside

log = logging.getLogger("lanemesh.gateway")

MAX_PAUSE = 15.0
"""Longest pause between two attempts to reach the mesh, in seconds."""
TOKEN_VARIABLE = "LANEMESH_HTTP_TOKEN"  # the name of a variable
"""The environment variable with the token of the HTTP server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """Where a gateway listens, and the clients that it admits."""

    port: int = 8080
    """`--http`; 0: any free port."""
    host: str = "127.0.0.1"
    """`--host`."""
    token_file: Path | None = None
    """`--token-file`."""
    insecure: bool = False
    """`--insecure`."""
    origins: Sequence[str] = ()
    """`--origin`: sites whose pages may call the API."""
    names: Sequence[str] = ()
    """`--name`: host names by which the gateway is reached."""
    webhook_secrets: Path | None = None
    """`--webhook-secrets`: the file with the secrets of webhooks."""
    mesh_tokens: bool = False
    """`--mesh-tokens`: callers send tokens of the mesh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """The options of `lanemesh up`."""

    pipes: Sequence[str]
    """Files of pipelines."""
    settings: Sequence[str] = ()
    """`--set`, for a single pipeline."""
    host: HostOptions = field(default_factory=HostOptions)
    """`--spread`, `--nodes`, `--store`."""
    web: WebOptions = field(default_factory=WebOptions)
    """Where it listens."""


def gateway(mesh: HostOptions, web: WebOptions) -> ExitCode:
    """Serves a mesh elsewhere until SIGTERM or Ctrl-C."""

    async def serve() -> None:
        mesh.check()
        async with Client(mesh.mesh or DEFAULT_MESH) as client:
            if web.mesh_tokens:
                client.forward_tokens()
            server = web_server(client, web)
            print(f"the web gateway of {mesh.mesh} listens at {server.url}", file=sys.stderr, flush=True)
            gc.collect()
            gc.freeze()  # modules stay until the process ends; each full collection would scan them again
            checking = asyncio.create_task(
                _report_unreachable(client, forwards_tokens=web.mesh_tokens), name="check of the mesh"
            )
            try:
                await server.run()
            finally:
                checking.cancel()
                await asyncio.gather(checking, return_exceptions=True)

    asyncio.run(serve())
    return ExitCode.COMPLETED


async def _report_unreachable(mesh: RunHost, *, forwards_tokens: bool) -> None:
    """Logs a warning if the mesh cannot be reached when the gateway starts, and a line when it can be."""
    backoff, is_warned = Backoff(1.0, MAX_PAUSE), False
    while True:
        try:
            await mesh.node_types(())
        except LanemeshError as error:
            if error.fault.code in (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED) and forwards_tokens:
                return  # it was reached: callers send their own tokens
            if not is_warned:
                log.warning("%s. The gateway goes on trying, and answers with 503 meanwhile", error.fault.message)
            is_warned = True
            await asyncio.sleep(backoff.next())
            continue
        if is_warned:
            log.warning("the mesh is reached now")
        return


def beside(web: WebOptions) -> Beside:
    """Serves a gateway beside an orchestrator of this process. If that requires tokens, and the gateway has none of its own, its
    callers send those of the mesh."""
    if Security.from_environment().auth is not None and not read_token(web.token_file, TOKEN_VARIABLE):
        web = replace(web, mesh_tokens=True)

    @asynccontextmanager
    async def serve(mesh: str) -> AsyncIterator[None]:
        client = Client(mesh)
        if web.mesh_tokens:
            client.forward_tokens()
        async with client, web_server(client, web) as server:
            log.info("the web gateway listens at %s", server.url)
            yield

    return serve


def up(options: UpOptions) -> ExitCode:
    """Deploys pipelines on a mesh of this process, and serves them until SIGTERM or Ctrl-C."""
    if options.settings and len(options.pipes) > 1:
        raise CommandError("--set is for one pipeline. Give one pipeline, or no --set.")
    settings = parse_settings(options.settings)
    files: dict[str, str] = {}
    for pipe in options.pipes:
        name = deployment_name(pipe)
        if name in files:
            raise CommandError(f"{files[name]} and {pipe} would both be deployed as @{name}. Rename one.")
        files[name] = pipe
    pipelines = {name: read_pipeline(pipe) for name, pipe in files.items()}

    async def serve() -> None:
        async with open_host(options.host) as mesh:
            server = web_server(mesh, options.web, trusts_documents=True)
            for name, pipeline in pipelines.items():
                try:
                    await mesh.deploy(name, pipeline.document, settings=settings, variables=pipeline.variables)
                except PipelineInvalid as error:
                    server.close()
                    raise InvalidPipeline(pipeline.name, pipeline.text, error.faults) from None
                except BaseException:
                    server.close()
                    raise
            print(addresses(server.url, list(pipelines)), flush=True)
            await server.run()

    asyncio.run(serve())
    return ExitCode.COMPLETED


def web_server(mesh: RunHost, web: WebOptions, *, trusts_documents: bool = False) -> HttpServer:
    """The HTTP server of a gateway.

    Args:
        mesh: what it serves.
        web: where it listens, and the clients that it admits.
        trusts_documents: the mesh runs documents of clients as its own. They are refused if anyone can reach the gateway.

    Raises:
        LanemeshError: the address cannot be used, or a library is missing.
    """
    try:
        from lanemesh_orchestrator.gateway.options import GatewayOptions
        from lanemesh_orchestrator.gateway.server import gateway_server
    except ImportError as error:
        message = (
            f"The gateway needs Python libraries that cannot be imported ({error}). "
            "Install them with: pip install 'lanemesh[web]'"
        )
        raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="web-missing", message=message)) from None
    token = read_token(web.token_file, TOKEN_VARIABLE)
    documents = not trusts_documents or bool(token) or is_loopback(web.host)
    options = GatewayOptions(
        token=token,
        mesh_tokens=web.mesh_tokens,
        origins=tuple(web.origins),
        hosts=tuple(web.names),
        documents=documents,
        webhook_secrets=read_webhook_secrets(web.webhook_secrets),
    )
    return gateway_server(mesh, web.host, web.port, options, insecure=web.insecure)


def deployment_name(pipe: str) -> str:
    """The name under which the pipeline of a file is deployed: that of the file, in the characters of a name."""
    name = re.sub(r"[^a-z0-9]+", "-", Path(pipe).stem.lower()).strip("-")[:63]
    return name or "pipeline"


def addresses(url: str, names: Sequence[str]) -> str:
    """Where the served pipelines are, for display."""
    lines = [
        f"page    {url}/",
        f"API     {url}/v1/openapi.json",
        f"OpenAI  {url}/v1 as base URL, models: {', '.join(names)}",
    ]
    return "\n".join(lines)
