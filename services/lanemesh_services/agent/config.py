"""The settings of an agent."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from lanemesh_services.shared.instructions import Instructions

Schedule = Literal["wait", "background", "interrupt"]
"""When the result of a call reaches the model: at the end of its wave, in a later wave, or at once."""


class Budget(BaseModel):
    """Most that one question may use; None: no limit. Then the agent answers from what it knows."""

    calls: int | None = Field(None, ge=1, le=100_000, description="Tool calls, with those of sub-agents.")
    tokens: int | None = Field(None, ge=1, description="Tokens of all turns of the model, with those of sub-agents.")
    seconds: float | None = Field(
        None, gt=0, le=86_400, description="Seconds; calls that run or wait for an approval then are cancelled."
    )
    cost: float | None = Field(
        None, gt=0, description="US dollars, with those of sub-agents, if the models report their cost."
    )


class AgentConfig(BaseModel):
    """Settings of an agent."""

    instructions: Instructions = Field(
        "", description="Instructions for the agent; they precede those of the question."
    )
    max_waves: int = Field(
        8, ge=1, le=100, description="Maximum number of waves of tool calls; then the agent must answer."
    )
    tool_timeout: float = Field(60.0, gt=0, le=3600, description="Time limit of one tool call, in seconds.")
    max_calls: int = Field(16, ge=1, le=256, description="Maximum number of tool calls of one wave.")
    max_parallel: int = Field(16, ge=1, le=256, description="Maximum number of tool calls that run at once.")
    max_repeats: int = Field(
        3, ge=1, le=1000, description="How often one question may make the same call with the same arguments."
    )
    max_result: int = Field(
        20_000,
        ge=100,
        le=1_000_000,
        description="Maximum length of a tool's result in the prompt, in characters; of a longer one the model gets a summary.",
    )
    result_images: bool = Field(
        False,
        description="Images of tool results go to the model, which has to read images; otherwise it gets only their descriptions.",
    )
    context_tokens: int = Field(
        0,
        ge=0,
        le=100_000_000,
        description="Tokens that the model's context holds; older results become summaries to fit. 0: not known.",
    )
    holdback: int = Field(
        80,
        ge=1,
        le=100_000,
        description="Characters of a turn that are held back in case they are a thought; more text is the answer.",
    )
    budget: Budget = Field(Budget.model_validate({}), description="Most that one question may use.")
    tool_calling: Literal["auto", "native", "json"] = Field(
        "auto",
        description="How the model calls tools: by its own tool calls, or by JSON that follows a schema; auto: by JSON if the "
        "model rejects tools.",
    )
    approve: list[str] = Field(
        default_factory=list,
        max_length=100,
        description='Calls that need an approval: patterns such as "tool_http.*" or "delete_*" of tools, of helpers\' components, '
        "and of both as component.tool.",
    )
    approval_timeout: float = Field(
        600.0, gt=0, le=604_800, description="Seconds until a call without a decision is refused."
    )
    schedules: dict[str, Schedule] = Field(
        default_factory=dict,
        max_length=100,
        description="When the model gets the results of calls, by patterns as in approve: wait (at the end of the wave, the "
        "default), background (in a later wave), interrupt (at once; the present turn of the model is broken off).",
    )
    description: str = Field(
        "",
        max_length=4_000,
        description='What the agent is for: what models read of it where it is connected as a "tool".',
    )
