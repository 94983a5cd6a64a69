"""`deanonymize`: takes the pseudonyms of `anonymize` back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from lanemesh import Answer, Context, Document, In, Inputs, Invokes, Node, Out, Outputs
from lanemesh.extend import ABSENT, read_json, to_json
from pydantic import BaseModel, Field, SecretStr

from lanemesh_services.documents.anonymize import pseudonyms_of
from lanemesh_services.documents.errors import other_key, too_many_open
from lanemesh_services.documents.privacy.pseudonyms import Pseudonyms, WrongKey, open_end
from lanemesh_services.shared.unread import text_of

MAX_OPEN = 1_000
"""Most texts that arrive in pieces at the same time."""
_OUTPUTS = {"text": "named", "answers": "answered", "documents": "restored"}
"""The output for each input."""


class Deanonymize(Node):
    """Puts the names back in the place of the pseudonyms of anonymize, in texts, answers and documents.

    It works on pieces while they stream, and holds back only what may be the begin of a pseudonym. The data and the tool calls of
    answers are treated as well. A pseudonym that the memory does not have stays, and is counted in a warning.
    """

    class Config(BaseModel):
        """Settings, the same as those of anonymize."""

        key: SecretStr = Field(SecretStr(""), description="The key of anonymize.")
        scope: Literal["run", "session"] = Field("run", description="The scope of anonymize.")

    invokes = (Invokes("memory"),)
    pip_extra = "privacy"
    python_packages = ("cryptography",)

    text: Annotated[In[str], "Texts, whole or in pieces."] = ""
    answers: Annotated[In[Answer | None], "Answers, whole or in pieces."] = None
    documents: Annotated[In[Document | None], "Documents."] = None

    named: Annotated[Out[str], "The texts with their names."]
    answered: Annotated[Out[Answer], "The answers with their names."]
    restored: Annotated[Out[Document], "The documents with their names."]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Takes the pseudonyms of each item back."""
        work = _Restoring(context, outputs, pseudonyms_of(context, self.config))
        try:
            async for port, item in inputs.iter_items():
                await work.take(port, item)
            await work.finish()
        except WrongKey:
            raise other_key(context.component) from None
        if work.unknown:
            context.log.warning("%d pseudonyms are unknown, and left as they are", work.unknown)


class _Restoring:
    """The state of one component: the ends of texts that are held back, by their groups."""

    def __init__(self, context: Context, outputs: Outputs, pseudonyms: Pseudonyms) -> None:
        self.unknown = 0
        """Pseudonyms that the memory does not have."""
        self._context = context
        self._outputs = outputs
        self._pseudonyms = pseudonyms
        self._held: dict[tuple[str, str], tuple[str, Any]] = {}
        """The held back ends, with the envelopes of their pieces."""

    async def take(self, port: str, item: Any) -> None:
        """Sends an item on. Raises WrongKey, or LanemeshError if too many texts are open."""
        group = item.envelope.group if item.envelope is not None else None
        value = item.value
        if value is ABSENT and group is None:  # dropped on its way, before a `join`
            return
        if isinstance(value, Document):
            restored = replace(
                value,
                content=await self._restored(text_of(value)),
                id=await self._restored(value.id),
                source=await self._restored(value.source),
                metadata=await self._value(value.metadata),
                embedding=(),
            )
            await self._outputs.emit("restored", restored, item.envelope)
            return
        place = (port, group.id if group is not None else "")
        is_last = group is None or group.last
        text = self._held.pop(place, ("", None))[0] + (
            value.text if isinstance(value, Answer) else value if isinstance(value, str) else ""
        )
        kept = 0 if is_last else open_end(text)
        if kept:
            self._held[place] = (text[len(text) - kept :], item.envelope)
            if len(self._held) > MAX_OPEN:
                raise too_many_open(MAX_OPEN)
        text = await self._restored(text[: len(text) - kept])
        if value is ABSENT and not text:
            await self._outputs.emit(_OUTPUTS[port], ABSENT, item.envelope)
        elif port == "answers":
            answer = await self._structured(value) if isinstance(value, Answer) else Answer()
            await self._outputs.emit("answered", replace(answer, text=text), item.envelope)
        elif port == "text":
            await self._outputs.emit("named", text, item.envelope)

    async def finish(self) -> None:
        """Sends the ends of texts whose last piece has not come."""
        for (port, _), (text, envelope) in self._held.items():
            if port == "answers":
                await self._outputs.emit("answered", Answer(text), envelope)
            else:
                await self._outputs.emit("named", text, envelope)
        self._held.clear()

    async def _structured(self, answer: Answer) -> Answer:
        """An answer with the names in its data and in the arguments of its tool calls."""
        calls = [replace(call, arguments=await self._arguments(call.arguments)) for call in answer.tool_calls]
        return replace(answer, data=await self._value(answer.data), tool_calls=tuple(calls))

    async def _arguments(self, text: str) -> str:
        """The arguments of a tool call with the names, which stay JSON whatever characters a name has."""
        try:
            arguments = read_json(text)
        except ValueError:
            return await self._restored(text)
        restored = await self._value(arguments)
        return text if restored == arguments else to_json(restored)

    async def _value(self, value: Any) -> Any:
        """A value of JSON with the names in its texts and in the names of its keys."""
        if isinstance(value, str):
            return await self._restored(value)
        if isinstance(value, Mapping):
            return {await self._restored(key): await self._value(inner) for key, inner in value.items()}
        return [await self._value(inner) for inner in value] if isinstance(value, list | tuple) else value

    async def _restored(self, text: str) -> str:
        text, unknown = await self._pseudonyms.taken_back(text)
        self.unknown += unknown
        return text
