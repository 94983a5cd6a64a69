"""Commands for the web: `up` and `gateway`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lanemesh_orchestrator.cli.exits import ExitCode
from lanemesh_orchestrator.cli.options import (
    NO_MESH,
    Debug,
    Host,
    Log,
    Mesh,
    Nodes,
    Settings,
    SpreadTo,
    Store,
    command,
    host_options,
    mesh_address,
)

if TYPE_CHECKING:
    from lanemesh_orchestrator.cli.commands.gateway import WebOptions

web_app = typer.Typer()

HttpPort = Annotated[
    int, typer.Option("--http", metavar="PORT", min=0, max=65_535, help="Port to listen on; 0: any free one.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="Require the token in this file of clients; default: that of LANEMESH_HTTP_TOKEN, if it is set.",
    ),
]
OpenToAll = Annotated[bool, typer.Option("--insecure", help="Allow an address other than loopback without a token.")]
Origins = Annotated[
    list[str] | None,
    typer.Option("--origin", metavar="URL", help="Let pages of this site call the API. Can be repeated."),
]
HostNames = Annotated[
    list[str] | None,
    typer.Option("--host-name", metavar="NAME", help="Serve requests for this host name. Can be repeated."),
]

WebhookSecrets = Annotated[
    Path | None,
    typer.Option(
        "--webhook-secrets",
        metavar="FILE",
        help="Require signatures of webhooks: FILE has a line DEPLOYMENT=SECRET for each.",
    ),
]


def web_options(
    port: int,
    host: str,
    token_file: Path | None,
    insecure: bool,
    origins: list[str] | None,
    host_names: list[str] | None,
    webhook_secrets: Path | None,
    mesh_tokens: bool = False,
) -> WebOptions:
    """The options that `up` and `gateway` have in common."""
    from lanemesh_orchestrator.cli.commands.gateway import WebOptions

    return WebOptions(
        port=port,
        host=host,
        token_file=token_file,
        insecure=insecure,
        origins=origins or (),
        names=host_names or (),
        webhook_secrets=webhook_secrets,
        mesh_tokens=mesh_tokens,
    )


@web_app.command()
@command
def up(
    pipes: Annotated[list[str], typer.Argument(metavar="PIPE", help="Pipelines: .pipe files.", show_default=False)],
    http: HttpPort = 8080,
    host: Host = "127.0.0.1",
    token_file: TokenFile = None,
    insecure: OpenToAll = False,
    origins: Origins = None,
    host_names: HostNames = None,
    webhook_secrets: WebhookSecrets = None,
    settings: Settings = None,
    spread: SpreadTo = None,
    nodes: Nodes = None,
    store: Store = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Serve pipelines in this process with a web page, an HTTP API and an OpenAI-compatible API."""
    from lanemesh_orchestrator.cli.commands.gateway import UpOptions
    from lanemesh_orchestrator.cli.commands.gateway import up as serve_pipelines

    web = web_options(http, host, token_file, insecure, origins, host_names, webhook_secrets)
    here = host_options(spread, NO_MESH, nodes, pipes[0], store=store)
    return serve_pipelines(UpOptions(pipes=pipes, settings=settings or (), host=here, web=web))


@web_app.command()
@command
def gateway(
    mesh: Mesh = None,
    http: HttpPort = 8080,
    host: Host = "127.0.0.1",
    token_file: TokenFile = None,
    insecure: OpenToAll = False,
    origins: Origins = None,
    host_names: HostNames = None,
    webhook_secrets: WebhookSecrets = None,
    mesh_tokens: Annotated[
        bool,
        typer.Option(
            "--mesh-tokens",
            envvar="LANEMESH_MESH_TOKENS",
            help="Require of clients a token of the mesh, which has LANEMESH_AUTH, and send it on.",
        ),
    ] = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Serve a mesh on the web: its page, an HTTP API and an OpenAI-compatible API. Several gateways may serve one mesh."""
    from lanemesh_orchestrator.cli.commands.gateway import gateway as serve_mesh

    web = web_options(http, host, token_file, insecure, origins, host_names, webhook_secrets, mesh_tokens)
    return serve_mesh(host_options(None, mesh_address(mesh), None), web)
