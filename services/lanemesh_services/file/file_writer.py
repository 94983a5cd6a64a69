"""`file_writer`: writes what arrives into a folder."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from lanemesh import Answer, Audio, Context, Document, Image, In, Inputs, Json, Media, Node, Out, Outputs, Video, Whole
from lanemesh.extend import ABSENT, FILE_NAME, copy_json, in_thread
from pydantic import BaseModel, Field

from lanemesh_services.file.errors import folder_unusable
from lanemesh_services.file.output_folder import Folder, extension_of, safe_name
from lanemesh_services.shared.media_errors import no_bytes

_TEXT_ENDINGS = frozenset({".txt", ".md", ".html", ".htm", ".csv", ".json", ".xml", ".yaml", ".yml", ".rst", ".log"})


class FileWriter(Node):
    """Writes each text, answer, document, picture, audio, video and JSON value into a file of its own in a folder.

    A file appears complete and at once. It has the name of the file or document that it comes from, or else that of `name`; a name
    that is taken gets a number. Nothing is written outside the folder, and nothing there is replaced.
    """

    class Config(BaseModel):
        """Settings of the files."""

        folder: Path = Field(description="The folder, on the node server. It is made if it does not exist.")
        name: str = Field(
            "",
            max_length=100,
            pattern=r"^([^./\\\x00-\x1f][^/\\\x00-\x1f]*)?$",
            description="Name of files that have none of their own, without folders and ending; default: that of the lane.",
        )

    text: Annotated[In[Whole[str | None]], "Texts."] = None
    answers: Annotated[In[Whole[Answer | None]], "Answers: their text, or their data as JSON."] = None
    documents: Annotated[In[Whole[Document | None]], "Documents: their file, or else their text."] = None
    image: Annotated[In[Whole[Image | None]], "Pictures."] = None
    audio: Annotated[In[Whole[Audio | None]], "Audio files."] = None
    video: Annotated[In[Whole[Video | None]], "Videos."] = None
    data: Annotated[In[Json], "JSON values."] = None

    written: Annotated[Out[Json], 'Each file: {"name": "a.txt", "path": "/folder/a.txt", "bytes": 3}.']

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Writes the files. Raises FolderUnusable, or MediaUnusable for an item that has an address in place of its bytes."""
        path = str(self.config.folder)
        try:
            folder = await in_thread(Folder, self.config.folder)
            async for port, item in inputs.iter_items():
                if item.value is ABSENT:
                    continue
                metadata = item.envelope.metadata if item.envelope is not None else None
                given = str((metadata or {}).get(FILE_NAME, ""))
                name, content = _file_of(port, item.value, given, self.config.name or port)
                placed = await in_thread(folder.put, name, content)
                if "written" in context.connected_outputs:
                    record = {"name": placed.name, "path": str(placed), "bytes": len(content)}
                    await outputs.emit("written", record)
        except (OSError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise folder_unusable(context.component, path, why, "Make it a folder that can be written") from None


def _file_of(port: str, value: Any, given: str, default: str) -> tuple[str, bytes]:
    """The name and the content of the file of a value. Raises MediaUnusable."""
    match value:
        case Document() if value.file is not None and not value.content:
            ending = extension_of(value.file.mime_type)
            return safe_name(given or value.source, f"{default}{ending}"), _bytes(value.file)
        case Document():
            number = f"-{value.chunk_index}" if value.chunk_index is not None else ""
            return _text_name(given or value.source, number, default), value.content.encode()
        case Media():
            return safe_name(given, f"{default}{extension_of(value.mime_type)}"), _bytes(value)
        case Answer() if value.data is not None:
            return safe_name("", f"{default}.json"), _json(value.data)
        case Answer():
            return safe_name("", f"{default}.txt"), value.text.encode()
        case str() if port == "text":
            return _text_name(given, "", default), value.encode()
    return safe_name("", f"{default}.json"), _json(value)


def _bytes(media: Media) -> bytes:
    """Raises MediaUnusable if it has an address in place of bytes."""
    if media.uri:
        raise no_bytes(media)
    return media.content


def _text_name(given: str, number: str, default: str) -> str:
    """The name of a text, by the name of the file that it comes from."""
    path = PurePosixPath(safe_name(given, f"{default}.txt"))
    ending = path.suffix if path.suffix.lower() in _TEXT_ENDINGS else ".txt"
    return f"{path.stem}{number}{ending}"


def _json(value: Any) -> bytes:
    return json.dumps(copy_json(value), ensure_ascii=False, indent=2).encode() + b"\n"
