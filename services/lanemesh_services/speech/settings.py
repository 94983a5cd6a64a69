"""The setting of nodes that read streams of audio for what cannot be decoded."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ReadsAudio(BaseModel):
    """Settings of a node that reads audio."""

    on_bad_audio: Literal["fail", "skip"] = Field(
        "fail",
        json_schema_extra={"on_error_skip": "skip"},
        description="What follows a recording that cannot be decoded: the run fails, or it is left out with a warning.",
    )

    @property
    def skips(self) -> bool:
        """What cannot be decoded is left out."""
        return self.on_bad_audio == "skip"
