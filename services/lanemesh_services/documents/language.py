"""`language`: the language of texts and documents."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from lanemesh import Context, Document, In, Node, Out, Tags, Whole
from lanemesh.extend import in_thread
from pydantic import BaseModel, Field, field_validator

from lanemesh_services.documents.errors import bad_languages
from lanemesh_services.documents.inputs import as_document, given_one
from lanemesh_services.shared.errors import import_failed

MAX_CHARACTERS = 5_000
"""So much of a text is looked at."""


class Language(Node):
    """Finds the language of each text and document, without a model of language.

    Documents pass on with `language` (ISO 639-1) and `language_confidence` (0 to 1) in their metadata. For a text without words
    both are absent.
    """

    class Config(BaseModel):
        """Settings of the detection."""

        languages: list[str] = Field(
            [],
            max_length=100,
            description='The languages that may occur, as ISO 639-1 codes such as "en" and "de"; empty: all 75 that are known.',
        )
        precise: bool = Field(
            False, description="More memory, up to 1 GB for all languages, and better results for texts of few words."
        )

        @field_validator("languages")
        @classmethod
        def _codes(cls, codes: list[str]) -> list[str]:
            for code in codes:
                if len(code) != 2 or not code.isalpha():
                    raise ValueError(f'"{code[:20]}" is no ISO 639-1 code, such as "en"')
            if len(set(codes)) == 1:
                raise ValueError("name two languages or more: of one there is nothing to find")
            return [code.lower() for code in codes]

    restartable = True
    pip_extra = "languages"
    python_packages = ("lingua",)

    text: Annotated[In[Whole[str | None]], "Texts."] = None
    documents: Annotated[In[Document | None], "Documents."] = None

    tags: Annotated[Out[Tags], "`language` and `language_confidence` of each text or document."]
    tagged: Annotated[Out[Document], "The documents, with their language."]

    @classmethod
    async def load(cls, config: Any) -> Any:
        """The detector. Raises LanemeshError if a language is unknown ("bad-languages")."""
        return await in_thread(_detector, config)

    def process(self, context: Context) -> dict[str, Any]:
        """The language of one text or document."""
        document = as_document(given_one(context.component, text=self.text, documents=self.documents))
        best = self.resource.compute_language_confidence_values(document.content[:MAX_CHARACTERS])
        known = (
            best and best[0].value > 0 and any(character.isalpha() for character in document.content[:MAX_CHARACTERS])
        )
        tags: dict[str, Any] = {}
        if known:
            code = best[0].language.iso_code_639_1.name.lower()
            tags = {"language": code, "language_confidence": round(best[0].value, 4)}
        result: dict[str, Any] = {"tags": Tags(tags)}
        if self.documents is not None:
            result["tagged"] = replace(document, metadata={**document.metadata, **tags})
        return result


def _detector(config: Any) -> Any:
    try:
        from lingua import IsoCode639_1, LanguageDetectorBuilder
    except ImportError as error:
        raise import_failed("lingua", "language", "languages", error) from error
    if unknown := [code for code in config.languages if not hasattr(IsoCode639_1, code.upper())]:
        raise bad_languages(unknown)
    codes = [getattr(IsoCode639_1, code.upper()) for code in config.languages]
    builder = (
        LanguageDetectorBuilder.from_iso_codes_639_1(*codes) if codes else LanguageDetectorBuilder.from_all_languages()
    )
    return (builder if config.precise else builder.with_low_accuracy_mode()).build()
