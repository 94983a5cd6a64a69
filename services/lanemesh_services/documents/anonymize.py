"""`anonymize` and `deanonymize`: texts without personal data, and with them again."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from lanemesh import Context, Document, Example, In, Invokes, Json, Message, Node, Out, Question, Whole
from lanemesh.extend import in_thread
from pydantic import BaseModel, Field, SecretStr, field_validator

from lanemesh_services.documents.errors import no_key, no_memory, other_key
from lanemesh_services.documents.inputs import as_document, given_one
from lanemesh_services.documents.ner import DEFAULT_MODEL
from lanemesh_services.documents.privacy.pseudonyms import Pseudonyms, WrongKey, replaced
from lanemesh_services.documents.privacy.recognition import Entity, analyzer, personal_data_in, without_overlaps
from lanemesh_services.shared.models import resolve

LEAST_KEY = 8
"""Fewest characters of a key."""
PLACES = frozenset({"URL", "DATE_TIME", "LOCATION", "NRP", "ORGANIZATION"})
"""What is left in sources and metadata unless `entities` names it: there the models take names of files for places."""
_JOINTS = str.maketrans("_-/+.", "     ")


class Anonymize(Node):
    """Finds personal data in texts, documents and questions with presidio, and replaces them.

    What it finds is replaced by its label, masked, hashed with a key, or replaced by a pseudonym, which deanonymize takes back in
    the answers of a model. The texts of a document's metadata, its source and its id are treated as well; places, dates,
    organizations and addresses stay there unless `entities` names them. Images of questions and files of documents are left out.
    """

    class Config(BaseModel):
        """Settings of the anonymization."""

        mode: Literal["replace", "mask", "hash", "pseudonym", "detect"] = Field(
            "replace",
            description="replace: <PERSON>; mask: ****; hash: a hash with `key`; pseudonym: <PERSON_K7QF3>, which deanonymize "
            "takes back by a connected memory; detect: the text stays, and the places are reported.",
        )
        entities: list[str] = Field(
            [],
            max_length=100,
            description='What to look for, such as "PERSON", "EMAIL_ADDRESS", "IBAN_CODE"; empty: everything.',
        )
        words: dict[str, list[str]] = Field(
            {}, max_length=100, description='Further words by their label, such as {"PROJECT": ["Falcon"]}.'
        )
        allowed: list[str] = Field(
            [], max_length=10_000, description="Texts that stay, such as the name of the company."
        )
        score: float = Field(0.35, ge=0, le=1, description="Least certainty of a find, from 0 to 1.")
        model: str = Field(
            DEFAULT_MODEL,
            description="A model's name or the folder of a spaCy pipeline.",
            json_schema_extra={"format": "path-or-name"},
        )
        language: str = Field(
            "en", pattern="^[a-z]{2}$", description="The language of the model and the texts, as ISO 639-1."
        )
        key: SecretStr = Field(
            SecretStr(""),
            description="For hashes and pseudonyms. With it pseudonyms are stored encrypted, and cannot be guessed.",
        )
        scope: Literal["run", "session"] = Field(
            "run", description="How long pseudonyms are kept: for the run, or its session."
        )

        @field_validator("key")
        @classmethod
        def _long_enough(cls, key: SecretStr) -> SecretStr:
            if 0 < len(key.get_secret_value()) < LEAST_KEY:
                raise ValueError(f"a key has {LEAST_KEY} characters or more")
            return key

        @field_validator("words")
        @classmethod
        def _labels(cls, words: dict[str, list[str]]) -> dict[str, list[str]]:
            for label in words:
                if (
                    not label.isascii()
                    or not label.isupper()
                    or not label.replace("_", "").isalnum()
                    or len(label) > 40
                ):
                    raise ValueError(
                        f'the label "{label[:50]}" must be of capitals, digits and underscores, at most 40'
                    )
            return words

    invokes = (Invokes("memory", min=0, max=1),)
    pip_extra = "privacy"
    python_packages = ("presidio_analyzer", "spacy")

    text: Annotated[In[Whole[str | None]], "Texts."] = None
    documents: Annotated[In[Document | None], "Documents."] = None
    questions: Annotated[In[Question | None], "Questions, with their instructions, history and documents."] = None

    clean: Annotated[Out[str], "The texts without personal data."]
    cleaned: Annotated[Out[Document], "The documents without personal data."]
    asked: Annotated[Out[Question], "The questions without personal data."]
    found: Annotated[
        Out[Json], 'What was found in each: a list of {"label", "start", "end", "score"}, without the text.'
    ]

    @classmethod
    async def load(cls, config: Any) -> Any:
        """The analyzer. Raises ModelMissing, ModelUnusable or EngineMissing."""
        if config.mode == "hash" and not config.key.get_secret_value():
            raise no_key("anonymize")

        def loaded() -> Any:
            return analyzer(Path(resolve(config.model, suggested="en-core-web-sm")), config.language, "anonymize")

        return await in_thread(loaded)

    async def process(self, context: Context) -> dict[str, Any]:
        """One text, document or question."""
        given = given_one(context.component, text=self.text, documents=self.documents, questions=self.questions)
        work = _Anonymizing(self.config, self.resource, context)
        if isinstance(given, Question):
            return {"asked": await _question(given, work), "found": work.found}
        document = as_document(given)
        if self.documents is None:
            return {"clean": await work.text(document.content), "found": work.found}
        return {"cleaned": await work.document(document), "found": work.found}


class _Anonymizing:
    """The anonymization of one item."""

    def __init__(self, config: Any, engine: Any, context: Context) -> None:
        self.found: list[dict[str, Any]] = []
        """What was found."""
        self._config = config
        self._engine = engine
        self._context = context
        self._key = config.key.get_secret_value()
        self._pseudonyms = pseudonyms_of(context, config) if config.mode == "pseudonym" else None

    async def text(self, text: str) -> str:
        """A text without what is found in it."""
        entities: list[Entity] = await in_thread(self._entities, text)
        self.found += [one.to_json() for one in entities]
        return await self._replaced(text, entities)

    async def document(self, document: Document) -> Document:
        """A document without what is found in its text, its metadata, its source and its id, and without its file and embedding."""
        text = await self.text(as_document(document).content)
        metadata = {key: await self.value(value, prose=key == "title") for key, value in document.metadata.items()}
        source, found_id = await self.source(document.source), document.id
        if document.source and found_id.startswith(document.source):
            found_id = source + found_id.removeprefix(document.source)
        else:
            found_id = await self.source(found_id)
        return replace(document, content=text, id=found_id, source=source, embedding=(), file=None, metadata=metadata)

    async def value(self, value: Any, *, prose: bool = False) -> Any:
        """A value of JSON without what is found in its texts. `prose`: all that is looked for, as in a text."""
        if isinstance(value, str):
            return await self._replaced(value, await in_thread(self._entities, value, prose))
        if isinstance(value, Mapping):
            return {key: await self.value(inner, prose=prose) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [await self.value(inner, prose=prose) for inner in value]
        return value

    async def source(self, source: str) -> str:
        """The name of a file, an address or an id without what is found in it. Distinct ones stay distinct."""
        entities = await in_thread(self._in_name, source)
        if not entities or self._config.mode == "detect":
            return source
        name = await self._replaced(source, entities)
        if self._config.mode not in ("replace", "mask"):
            return name
        return f"{name} ({hmac.new(self._key.encode(), source.encode(), hashlib.sha256).hexdigest()[:8]})"

    async def _replaced(self, text: str, entities: Sequence[Entity]) -> str:
        places = [(one.start, one.end, await self._other(one, text[one.start : one.end])) for one in entities]
        return replaced(text, places)

    def _in_name(self, name: str) -> list[Entity]:
        """What is found in a name, also where words are joined, as in "John_Smith.pdf"."""
        scheme = len(name) - len(name.rpartition("://")[2])
        words = name[:scheme] + name[scheme:].translate(_JOINTS)
        found = self._entities(name, False)
        return without_overlaps([*found, *self._entities(words, False)]) if words != name else found

    def _entities(self, text: str, prose: bool = True) -> list[Entity]:
        config = self._config
        if not text.strip():
            return []
        found = personal_data_in(
            self._engine,
            text,
            language=config.language,
            labels=config.entities,
            score=config.score,
            words=config.words,
            allowed=config.allowed,
        )
        return found if prose else [one for one in found if one.label not in PLACES or one.label in config.entities]

    def warn(self, what: str) -> None:
        """Reports what an item loses."""
        self._context.log.warning("a question: %s", what)

    async def _other(self, entity: Entity, name: str) -> str:
        if self._pseudonyms is None:
            return _OTHERS[self._config.mode](entity, name, self._key)
        try:
            return await self._pseudonyms.of(entity.label, name)
        except WrongKey:
            raise other_key(self._context.component) from None


def _hashed(entity: Entity, name: str, key: str) -> str:
    return hmac.new(key.encode(), f"{entity.label}\0{name}".encode(), hashlib.sha256).hexdigest()[:32]


_OTHERS: dict[str, Callable[[Entity, str, str], str]] = {
    "replace": lambda entity, name, key: f"<{entity.label}>",
    "mask": lambda entity, name, key: "".join("*" if character.isalnum() else character for character in name),
    "hash": _hashed,
    "detect": lambda entity, name, key: name,
}
"""What stands for a name by the mode."""


def pseudonyms_of(context: Context, config: Any) -> Pseudonyms:
    """The pseudonyms of the run or session. Raises LanemeshError if no memory is connected ("pseudonyms-not-kept")."""
    memories: Sequence[Any] = list(context.memories)
    if not memories:
        raise no_memory(context.component)
    return Pseudonyms(memories[0].space(config.scope), config.key.get_secret_value())


async def _question(question: Question, work: _Anonymizing) -> Question:
    history = [await _turn(turn, work) for turn in question.history]
    examples = [Example(await work.text(one.question), await work.text(one.answer)) for one in question.examples]
    documents = [await work.document(one) for one in question.documents]
    if question.images or any(turn.images for turn in question.history):
        work.warn("its images are left out, since they cannot be anonymized")
    return replace(
        question,
        text=await work.text(question.text),
        instructions=await work.text(question.instructions),
        history=tuple(history),
        examples=tuple(examples),
        images=(),
        documents=tuple(documents),
        embedding=(),
    )


async def _turn(turn: Message, work: _Anonymizing) -> Message:
    calls = [replace(call, arguments=await work.text(call.arguments)) for call in turn.tool_calls]
    return replace(turn, content=await work.text(turn.content), tool_calls=tuple(calls), images=())
