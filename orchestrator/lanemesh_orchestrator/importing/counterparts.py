"""The node types of NodeTool that have a counterpart: with which settings, and by which ports their handles go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

Ports = tuple[tuple[str, str], ...]
"""Pairs of lane and port by which the items of a handle can go, in the order of preference."""
Settings = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Returns the config of a component by the properties of a node."""
Differences = Callable[[Mapping[str, Any]], Sequence[str]]
"""Returns what a component does otherwise than a node with these properties, as sentences without their subject."""

ANY_HANDLE = "*"
"""Stands for every handle that is not listed."""
ANY_LANE: Ports = (("*", ""),)
"""The input of a component that takes every lane."""
MAX_NAME = 100
"""Longest name of a file that a component takes, in characters."""


@dataclass(frozen=True, slots=True)
class Counterpart:
    """The component that takes the place of a node."""

    provider: str
    """Its node type."""
    inputs: Mapping[str, Ports] = field(default_factory=dict)
    """Its inputs by the handles of the node."""
    outputs: Mapping[str, Ports] = field(default_factory=dict)
    """Its outputs by the handles of the node."""
    settings: Settings = field(default=lambda data: {})
    """Its config."""
    differs: Differences = field(default=lambda data: ())
    """What it does otherwise than the node, for the notes."""
    model: bool = False
    """It calls a language model, which the node names: the model becomes a helper."""
    needs: tuple[str, ...] = ()
    """What the user has to set, since the node has no value for it that fits."""


def _renamed(**names: str) -> Settings:
    """Settings that have the value of a property under another name, where the node has one."""

    def settings(data: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: data[key]
            for name, key in names.items()
            if isinstance(data.get(key), (str, int, float)) and data[key] != ""
        }

    return settings


def _defaulting(settings: Settings, **defaults: Any) -> Settings:
    """Settings with the values that the node has by default, where those of the component are others."""
    return lambda data: defaults | settings(data)


def _folder(data: Mapping[str, Any]) -> dict[str, Any]:
    """The folder and the name of a node that saves a file."""
    given = data.get("folder")
    path = given.get("path") if isinstance(given, Mapping) else given
    found: dict[str, Any] = {"folder": path if isinstance(path, str) and path else "output"}
    if name := _file_name(data):
        found["name"] = name
    return found


def _file_name(data: Mapping[str, Any]) -> str:
    """The name that a node gives to its file, without folders, ending, characters that are not printable, and leading dots; empty
    if it has none, or one with the time in it."""
    given = _given_name(data)
    last = PurePosixPath(given.replace("\\", "/")).name
    name = "".join(character for character in last if character.isprintable()).lstrip(".")
    return "" if "%" in given else PurePosixPath(name).stem[:MAX_NAME]


def _given_name(data: Mapping[str, Any]) -> str:
    name = data.get("filename") or data.get("name")
    return name if isinstance(name, str) else ""


def _renames(data: Mapping[str, Any]) -> list[str]:
    """What is left out of the name of a file."""
    given = _given_name(data)
    if "%" in given:
        return ["does not put the time into the names of files"]
    return ["writes into its folder, not into those of the name of its file"] if set(given) & {"/", "\\"} else []


def _watched(data: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"path": data.get("path") or ".", "hidden": True}
    for setting, name in (("globs", "patterns"), ("exclude", "ignore_patterns")):
        patterns = data.get(name)
        if isinstance(patterns, list) and patterns and all(isinstance(one, str) and one for one in patterns):
            found[setting] = patterns
    if data.get("recursive") is not True:
        found["recursive"] = False
    return found


def _watches_otherwise(data: Mapping[str, Any]) -> list[str]:
    """What a watch has that `directory` has not."""
    found = ["also sends the files that are there at its start, and reports none that are deleted or moved"]
    events = data.get("events")
    if isinstance(events, list) and not {"created", "modified"} <= {one for one in events if isinstance(one, str)}:
        found.append("sends new and changed files alike")
    if data.get("max_events"):
        found.append("does not end after a number of files")
    return found


def _resized(**fit: Any) -> Settings:
    """The size of an image, which has a default in NodeTool, and how the image gets it."""
    return _defaulting(lambda data: _renamed(width="width", height="height")(data) | fit, width=512, height=512)


def _recursively(data: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes of chunks. The usual overlap in NodeTool is 200 characters, or none if the chunks are not longer."""
    found = _defaulting(_renamed(size="chunk_size", overlap="chunk_overlap"), size=1_000)(data)
    long = isinstance(found["size"], (int, float)) and found["size"] > 200
    return {"overlap": 200 if long else 0} | found


def _cuts_otherwise(data: Mapping[str, Any]) -> list[str]:
    return ["cuts at paragraphs, lines, sentences and words, not at other separators"] if data.get("separators") else []


def _interval(data: Mapping[str, Any]) -> dict[str, Any]:
    seconds, most = data.get("interval_seconds"), data.get("max_events")
    found: dict[str, Any] = {"every": seconds if isinstance(seconds, (int, float)) and seconds > 0 else 60}
    if isinstance(most, int) and most > 0:
        found["count"] = most
    if data.get("emit_on_start") is False:
        found["at_once"] = False
    return found


def _waits_otherwise(data: Mapping[str, Any]) -> list[str]:
    return ["begins without a delay"] if data.get("initial_delay_seconds") else []


def _sends_all_frames(data: Mapping[str, Any]) -> list[str]:
    """What an iteration has that `video_frames` has in seconds."""
    begins, ends = data.get("start", 0) != 0, data.get("end", -1) != -1
    return ["sends all frames; set start and end in seconds"] if begins or ends else []


def _scheme(data: Mapping[str, Any]) -> dict[str, Any]:
    schema = data.get("schema") or data.get("columns")
    return {"schema": schema} if isinstance(schema, Mapping) else {}


TEXT: Ports = (("text", ""),)
QUESTIONS: Ports = (("questions", ""),)
TEXT_OR_DOCUMENTS: Ports = (("text", ""), ("documents", ""))
FILES: Ports = (("documents", ""), ("text", ""), ("tags", ""))
ANSWER: Ports = (("answers", ""), ("text", ""))
IMAGE: Ports = (("image", ""),)
AUDIO: Ports = (("audio", ""),)
VIDEO: Ports = (("video", ""),)

_CHAT = Counterpart("chat", outputs={ANY_HANDLE: (("questions", ""), ("text", ""))})
_DATA = Counterpart("webhook", outputs={ANY_HANDLE: (("data", ""),)})
_PARSE = Counterpart("parse", {ANY_HANDLE: (("documents", ""),)}, {ANY_HANDLE: (("text", ""), ("documents", "pages"))})
_SPLIT = Counterpart(
    "splitter",
    {"text": TEXT_OR_DOCUMENTS, "document": (("documents", ""), ("text", ""))},
    {ANY_HANDLE: (("documents", ""),)},
    _recursively,
    _cuts_otherwise,
)
_WORDS = Counterpart(
    "splitter",
    _SPLIT.inputs,
    _SPLIT.outputs,
    _defaulting(_renamed(size="length", overlap="overlap"), mode="tokens", size=100, overlap=0),
    lambda data: ["counts words and signs, and cuts between sentences where it can"],
)
_BY_MEANING = Counterpart(
    "splitter",
    _SPLIT.inputs,
    _SPLIT.outputs,
    differs=lambda data: ["cuts by length, not by meaning"],
)
_MARKDOWN = Counterpart(
    "splitter",
    _SPLIT.inputs,
    _SPLIT.outputs,
    _defaulting(_renamed(size="chunk_size", overlap="chunk_overlap"), mode="markdown"),
    lambda data: [] if data.get("chunk_size") else ["cuts sections of more than 1,000 characters"],
)
_TRANSCRIBE = Counterpart(
    "transcribe",
    {"audio": (("audio", ""),)},
    {ANY_HANDLE: (("text", ""), ("questions", ""), ("documents", ""))},
)
_SPEECH = Counterpart(
    "audio_tts",
    {"text": (("text", ""), ("answers", "")), "input": (("text", ""), ("answers", ""))},
    {ANY_HANDLE: AUDIO},
)
_SAVE = Counterpart(
    "file_writer",
    {
        ANY_HANDLE: (
            ("documents", ""),
            ("text", ""),
            ("answers", ""),
            ("image", ""),
            ("audio", ""),
            ("video", ""),
            ("data", ""),
        )
    },
    {ANY_HANDLE: (("data", ""),)},
    _folder,
    _renames,
)
_RESIZE = Counterpart("image_convert", {"image": IMAGE}, {ANY_HANDLE: IMAGE}, _resized(fit="stretch"))
_FIT = Counterpart("image_convert", {"image": IMAGE}, {ANY_HANDLE: IMAGE}, _resized(fit="cover", enlarge=True))


def _input(lanes: Ports) -> Counterpart:
    return Counterpart("file", outputs={ANY_HANDLE: lanes})


COUNTERPARTS: Mapping[str, Counterpart] = {
    "nodetool.input.ChatInput": _CHAT,
    "nodetool.input.StringInput": _CHAT,
    "nodetool.input.TextInput": _CHAT,
    "nodetool.input.MessageInput": _CHAT,
    "nodetool.input.SelectInput": _CHAT,
    "nodetool.input.DocumentInput": _input(FILES),
    "nodetool.input.DocumentFileInput": _input(FILES),
    "nodetool.input.FilePathInput": _input(FILES),
    "nodetool.input.ImageInput": _input(IMAGE),
    "nodetool.input.AudioInput": _input(AUDIO),
    "nodetool.input.VideoInput": _input(VIDEO),
    "nodetool.input.IntegerInput": _DATA,
    "nodetool.input.FloatInput": _DATA,
    "nodetool.input.BooleanInput": _DATA,
    "nodetool.triggers.WebhookTrigger": Counterpart(
        "webhook", outputs={"body": (("data", ""), ("text", ""), ("documents", ""), ("questions", ""))}
    ),
    "nodetool.triggers.IntervalTrigger": Counterpart(
        "timer", outputs={"tick": (("data", ""), ("text", ""))}, settings=_interval, differs=_waits_otherwise
    ),
    "nodetool.triggers.FileWatchTrigger": Counterpart(
        "directory", outputs={"path": FILES, "event": FILES}, settings=_watched, differs=_watches_otherwise
    ),
    "nodetool.agents.Summarizer": Counterpart(
        "summarise",
        {"text": (("text", ""), ("documents", ""))},
        {ANY_HANDLE: (("text", "summary"), ("answers", ""))},
        _renamed(instructions="system_prompt"),
        model=True,
    ),
    "nodetool.agents.Extractor": Counterpart(
        "extract",
        {"text": (("text", ""), ("documents", ""))},
        {ANY_HANDLE: (("data", ""), ("answers", ""))},
        lambda data: _scheme(data) | _renamed(instructions="system_prompt")(data),
        model=True,
        needs=("schema",),
    ),
    "nodetool.text.AutomaticSpeechRecognition": _TRANSCRIBE,
    "openai.audio.Transcribe": _TRANSCRIBE,
    "nodetool.audio.TextToSpeech": _SPEECH,
    "openai.audio.TextToSpeech": _SPEECH,
    "nodetool.text.ToUppercase": Counterpart("upper_case", {"text": TEXT}, {ANY_HANDLE: TEXT}),
    "nodetool.text.Split": Counterpart(
        "split_text", {"text": TEXT}, {ANY_HANDLE: TEXT}, _defaulting(_renamed(separator="delimiter"), separator=",")
    ),
    "nodetool.text.Collect": Counterpart(
        "join_text", {"input_item": TEXT}, {ANY_HANDLE: TEXT}, _renamed(separator="separator")
    ),
    "nodetool.text.Chunk": _WORDS,
    "nodetool.document.SplitRecursively": _SPLIT,
    "nodetool.document.SplitDocument": _BY_MEANING,
    "nodetool.document.SplitMarkdown": _MARKDOWN,
    "lib.langchain.RecursiveTextSplitter": _SPLIT,
    "lib.langchain.MarkdownSplitter": _MARKDOWN,
    "lib.pymupdf.ExtractMarkdown": _PARSE,
    "lib.pymupdf.ExtractText": _PARSE,
    "lib.markitdown.ConvertToMarkdown": _PARSE,
    "lib.pymupdf.ExtractTables": Counterpart(
        "parse", {ANY_HANDLE: (("documents", ""),)}, {ANY_HANDLE: (("table", ""),)}
    ),
    "lib.ocr.PaddleOCR": Counterpart("ocr", {"image": IMAGE}, {"text": (("text", ""), ("documents", ""))}),
    "nodetool.image.Resize": _RESIZE,
    "nodetool.image.Fit": _FIT,
    "nodetool.image.TextToImage": Counterpart(
        "image_generate",
        {"prompt": TEXT},
        {ANY_HANDLE: (("image", "generated"),)},
        _renamed(width="width", height="height", negative_prompt="negative_prompt", steps="num_inference_steps"),
        needs=("model",),
    ),
    "nodetool.video.FrameIterator": Counterpart(
        "video_frames", {"video": VIDEO}, {"frame": IMAGE}, differs=_sends_all_frames
    ),
    "nodetool.video.FrameToVideo": Counterpart(
        "video_mux", {"frame": IMAGE}, {ANY_HANDLE: VIDEO}, _defaulting(_renamed(rate="fps"), rate=30)
    ),
    "nodetool.text.SaveText": _SAVE,
    "nodetool.text.SaveTextFile": _SAVE,
    "nodetool.image.SaveImage": _SAVE,
    "nodetool.image.SaveImageFile": _SAVE,
    "nodetool.audio.SaveAudio": _SAVE,
    "nodetool.audio.SaveAudioFile": _SAVE,
    "nodetool.video.SaveVideo": _SAVE,
    "nodetool.video.SaveVideoFile": _SAVE,
    "nodetool.document.SaveDocumentFile": _SAVE,
}
"""The counterparts by the node types of NodeTool. Agents and outputs have rules of their own."""

SOURCES: Mapping[str, Counterpart] = {
    "String": _CHAT,
    "Text": _CHAT,
    "Document": _input(FILES),
    "Image": _input(IMAGE),
    "Audio": _input(AUDIO),
    "Video": _input(VIDEO),
}
"""The sources that take the place of constants, by the kind of the constant."""

IGNORED = frozenset({"nodetool.workflows.base_node.Comment", "nodetool.workflows.base_node.Group"})
"""Node types that do nothing."""
AGENT = "nodetool.agents.Agent"
PREVIEW = "nodetool.workflows.base_node.Preview"
OUTPUTS = "nodetool.output."
CONSTANTS = "nodetool.constant."

MODELS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "openai": ("llm_openai", {"api_key": "${OPENAI_API_KEY}"}),
    "anthropic": ("llm_anthropic", {"api_key": "${ANTHROPIC_API_KEY}"}),
    "gemini": ("llm_gemini", {"api_key": "${GEMINI_API_KEY}"}),
    "ollama": ("llm_openai", {"base_url": "http://127.0.0.1:11434/v1"}),
    "lmstudio": ("llm_openai", {"base_url": "http://127.0.0.1:1234/v1"}),
    "llama_cpp": ("llm_openai", {"base_url": "http://127.0.0.1:8080/v1"}),
}
"""The node types of language models by the providers of NodeTool, with their settings."""
