"""The pipeline as commands read it: its file, its source, its settings."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanemesh.client.specs import Deployed, NamedText
from lanemesh.client.variables import variables_from_environment
from lanemesh.faults import LanemeshError

from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.encoding import printable, require_json_text
from lanemesh_orchestrator.pipeline.source import (
    Source,
    components_of,
    document_tree,
    providers_of,
    source_of,
    sources_of,
)

if TYPE_CHECKING:
    from lanemesh.client.node_types import NodeTypeInfo

    from lanemesh_orchestrator.cli.input.hosts import HostOptions

MAX_BYTES = 64 * 1024 * 1024
"""Largest pipeline file that is read; the document itself may have 16 Mi characters."""


@dataclass(frozen=True, slots=True)
class PipelineFile:
    """A pipeline document and its origin."""

    name: str
    """Its file, as the user wrote it."""
    text: str
    """The document."""
    deployed: Deployed | None = None
    """If it is no file: the deployed pipeline."""

    @property
    def document(self) -> NamedText | Deployed:
        """The document to run; its runs are named after the file if the document has no name."""
        return self.deployed or NamedText(self.text, Path(self.name).name)

    @property
    def variables(self) -> dict[str, str]:
        """The variables that a file names, as far as this command's environment has them; they are sent along with it. A deployed
        pipeline reads nothing of this environment: who wrote it may be someone else."""
        return variables_from_environment(self.text) if self.deployed is None else {}

    def components(self) -> list[dict[str, Any]]:
        """Its components that are objects; validation reports the others."""
        return components_of(document_tree(self.text))

    def providers(self) -> set[str]:
        """The names of the node types of its components."""
        return providers_of(document_tree(self.text))

    def source(self, types: Sequence[NodeTypeInfo], *, named: str = "", kinds: Collection[str] = ()) -> Source | None:
        """The component that the client feeds; None if there is none, or it is unknown. The arguments are those of `source_of`."""
        return source_of(document_tree(self.text), types, named=named, kinds=kinds)

    @property
    def names_source(self) -> bool:
        """Whether the document says which source runs take."""
        return isinstance(document_tree(self.text).get("source"), str)

    def sources(self, types: Sequence[NodeTypeInfo]) -> list[Source]:
        """The components that a client can feed."""
        return sources_of(document_tree(self.text), types)


async def pipeline_of(pipe: str, options: HostOptions) -> PipelineFile:
    """The pipeline of the argument PIPE: a file, or a deployed pipeline of the mesh, as "@chat" or "@chat:2" for a version of
    it."""
    if not pipe.startswith("@"):
        return read_pipeline(pipe)
    from lanemesh_orchestrator.cli.input.hosts import open_host

    try:
        deployed = Deployed.parse(pipe)
    except LanemeshError as error:
        raise CommandError(f"{error}.") from None
    if options.mesh is None:
        raise CommandError(
            f"{pipe} is a deployed pipeline of a permanent mesh, but --spread starts a mesh of its own. Use --mesh "
            f"HOST:PORT instead of --spread. A file of this name is ./{pipe}."
        )
    async with open_host(options) as host:
        return PipelineFile(pipe, (await host.deployment(deployed.name, deployed.version)).pipeline_json, deployed)


def read_pipeline(path: str) -> PipelineFile:
    """Reads a pipeline file."""
    return PipelineFile(path, read_text_file(path))


def read_text_file(path: str) -> str:
    """The text of a file with a pipeline, or with a document that becomes one. Raises `CommandError` if it cannot be read."""
    file = Path(path)
    if file.is_dir():
        raise CommandError(f"{path} is a folder, not a pipeline. Give a file, such as {path.rstrip('/')}/chat.pipe.")
    if not file.exists():
        raise CommandError(f"There is no file {path}.{_nearest_file(file)}")
    return _text_of(file, path)


def _text_of(file: Path, name: str) -> str:
    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise CommandError(f"{name} is too large for a pipeline: more than {MAX_BYTES:,} bytes.")
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(f"{name} is not a pipeline: it is not UTF-8 text (byte {error.start}).") from None
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}.", ExitCode.INVALID) from None


def _nearest_file(file: Path) -> str:
    folder = file.parent
    if not folder.is_dir():
        return f" There is no folder {folder} either."
    # Bounded, since difflib takes quadratic time and a folder may hold any number of files.
    names = sorted(entry.name for entry, _ in zip(folder.iterdir(), range(1_000), strict=False) if entry.is_file())
    stems = {name.partition(".")[0]: name for name in reversed(names)}
    near = difflib.get_close_matches(file.name.partition(".")[0], list(stems), n=1, cutoff=0.6)
    pipes = [name for name in names if name.endswith((".pipe", ".pipe.json"))]
    if near:
        return f" Did you mean {folder / stems[near[0]]}?"
    return f" Pipelines there: {', '.join(pipes[:8])}." if pipes else " Give the path of a .pipe file."


def parse_settings(given: Sequence[str]) -> dict[str, Any]:
    """The values of `--set component.key=value`: JSON where the value is JSON, else text."""
    settings: dict[str, Any] = {}
    for setting in given:
        name, equals, value = setting.partition("=")
        component, dot, key = name.strip().partition(".")
        if not equals or not dot or not component or not key:
            raise CommandError(f"--set {setting}: write it as component.key=value, such as --set llm_1.temperature=0.")
        try:
            settings[name.strip()] = json.loads(value, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            settings[name.strip()] = value
        require_json_text(f"--set {printable(name)}", settings[name.strip()])
    return settings


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
