"""`--output component=FILE`: files that outputs go to instead of standard output."""

from __future__ import annotations

import difflib
import itertools
import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lanemesh_orchestrator.cli.exits import CommandError

STANDARD_OUTPUT = "-"
"""The FILE that means standard output: the bytes as they are."""


class OutputFile:
    """Where the outputs of one component go. Text and JSON follow each other in one file; each media value, made of all
    pieces of its whole, gets a file of its own, numbered from the second on: `a.png`, `a-2.png`."""

    def __init__(self, component: str, path: str, *, is_named: bool = True) -> None:
        """`is_named`: the user has named the file; otherwise it gets the ending of its media type, and replaces no other file."""
        self._is_named = is_named
        self.component = component
        """The component."""
        self.path = path
        """The file, as the user wrote it."""
        self.sizes: dict[str, int] = {}
        """The files written so far, each with its bytes."""
        self._groups: dict[str, str] = {}
        """The files of wholes that have not ended."""

    @property
    def is_stdout(self) -> bool:
        """The bytes go to standard output."""
        return self.path == STANDARD_OUTPUT

    def write(self, data: bytes) -> str:
        """Appends to the file; the first time replaces what was there. Returns its path."""
        return self._put(self.path, data, fresh=not self.sizes)

    def write_media(self, data: bytes, group: str, mime_type: str = "", *, last: bool = True) -> str:
        """Writes a media value, or appends it if it is a further piece of a group; `last` is the end of the group. Pieces of
        several groups may alternate. Returns the file's path."""
        name = self._groups.pop(group, "")
        path = self._put(name, data, fresh=False) if name else self._put(self._next_name(mime_type), data, fresh=True)
        if group and not last:
            self._groups[group] = path
        return path

    def _next_name(self, mime_type: str) -> str:
        """The file of the next whole."""
        if not self._is_named:
            self._is_named = True
            ending = mimetypes.guess_extension(mime_type, strict=False) or ".bin"
            names = (f"{self.path}{f'-{number}' if number else ''}{ending}" for number in itertools.count())
            self.path = next(name for name in names if not Path(name).exists())
        path = Path(self.path)
        number = len(self.sizes) + 1
        return self.path if number == 1 else str(path.with_name(f"{path.stem}-{number}{path.suffix}"))

    def _put(self, path: str, data: bytes, *, fresh: bool) -> str:
        try:
            with open(path, "wb" if fresh else "ab") as file:
                file.write(data)
        except OSError as error:
            raise CommandError(f"--output {self.component}={path}: it cannot be written: {error.strerror}.") from None
        self.sizes[path] = len(data) if fresh else self.sizes.get(path, 0) + len(data)
        return path


def parse_outputs(given: Sequence[str], components: Iterable[str]) -> dict[str, OutputFile]:
    """The files of `--output component=FILE` by component. Raises `CommandError` if one cannot be written."""
    known = list(components)
    files: dict[str, OutputFile] = {}
    for output in given:
        component, equals, path = output.partition("=")
        if not equals or not component or not path:
            raise CommandError(
                f"--output {output}: write it as component=FILE, such as --output response_1=answer.txt."
            )
        if known and component not in known:
            near = difflib.get_close_matches(component, known[:1_000], n=1, cutoff=0.6)
            hint = f"Nearest: {near[0]}." if near else f"Its components: {', '.join(known[:12])}."
            raise CommandError(f"--output {output}: the pipeline has no component {component}. {hint}")
        if component in files:
            raise CommandError(f"--output {output}: {component} already has a file: {files[component].path}.")
        folder = Path(path).parent
        if path != STANDARD_OUTPUT and (Path(path).is_dir() or not folder.is_dir()):
            what = "it is a folder" if Path(path).is_dir() else f"there is no folder {folder}"
            raise CommandError(f"--output {output}: {what}. Give the path of a file.")
        files[component] = OutputFile(component, path)
    return files


def player_files(components: Sequence[Mapping[str, Any]], given: Mapping[str, OutputFile]) -> dict[str, OutputFile]:
    """The files of components that play audio, named after them, without those that have a file already. `components` are those of
    the document."""
    players = (
        entry["id"]
        for entry in components
        if entry.get("provider") == "audio_player" and isinstance(entry.get("id"), str)
    )
    return {name: OutputFile(name, name, is_named=False) for name in players if name not in given}
