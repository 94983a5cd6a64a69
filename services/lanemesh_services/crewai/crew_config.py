"""The agents and tasks of a crew, as a pipeline describes them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from lanemesh_services.shared.instructions import Instructions

QUESTION = "{question}"
"""What the text of the question replaces in texts of agents and tasks."""


class CrewAgent(BaseModel):
    """One agent of a crew."""

    role: str = Field(min_length=1, description="Its role; unique in the crew.")
    goal: str = Field(
        default="Answer well.", description='What it strives for; "{question}" is the text of the question.'
    )
    backstory: str = Field(default="", description="More about it, for the model.")
    llm: str = Field(default="", description="Name of its model in `control`; default: the one without a name.")
    tools: list[str] | None = Field(default=None, description="Names of the tools that it may call; default: all.")
    max_turns: int = Field(default=10, ge=1, le=100, description="Maximum number of turns of its model for one task.")


class CrewTask(BaseModel):
    """One task of a crew."""

    description: str = Field(
        default=QUESTION, description='What is to be done; "{question}" is the text of the question.'
    )
    expected_output: str = Field(default="The answer, as plain text.", description="What the result shall look like.")
    agent: str = Field(default="", description="Role of the agent that does it; default: the first one.")
    context: list[int] = Field(default=[], description="Numbers of earlier tasks, from 0, whose results it needs.")


class CrewConfig(BaseModel):
    """Settings of a crew. The result of the last task is the answer."""

    agents: list[CrewAgent] = Field(
        [CrewAgent(role="assistant")], min_length=1, max_length=32, description="The agents of the crew."
    )
    tasks: list[CrewTask] = Field(
        [CrewTask()], min_length=1, max_length=64, description="The tasks, in the order in which they are done."
    )
    process: Literal["sequential", "hierarchical"] = Field(
        "sequential", description="sequential: each task has its agent; hierarchical: a manager assigns the tasks."
    )
    instructions: Instructions = Field(
        "", description="Instructions for every agent; they precede its backstory. Documents of RocketRide have them."
    )
    max_waves: int | None = Field(
        None, ge=1, le=100, description="Maximum number of turns of a model for one task, beside its agent's max_turns."
    )
    tool_timeout: float = Field(default=60.0, gt=0, le=3600, description="Time limit of one tool call, in seconds.")

    def instructed_agents(self) -> list[CrewAgent]:
        """The agents, each with the instructions in its backstory, and at most `max_waves` turns."""
        return [
            agent.model_copy(
                update={
                    "backstory": "\n\n".join(filter(None, (self.instructions, agent.backstory or agent.goal))),
                    "max_turns": min(agent.max_turns, self.max_waves or agent.max_turns),
                }
            )
            for agent in self.agents
        ]

    @model_validator(mode="after")
    def _check(self) -> CrewConfig:
        roles = [agent.role for agent in self.agents]
        if len(set(roles)) < len(roles):
            raise ValueError("two agents have one role; give each its own")
        for number, task in enumerate(self.tasks):
            if task.agent and task.agent not in roles:
                raise ValueError(f'task {number} names the agent "{task.agent}"; the roles are: {", ".join(roles)}')
            if wrong := [one for one in task.context if not 0 <= one < number]:
                raise ValueError(f"task {number} needs the result of task {wrong[0]}, which is not an earlier one")
        return self
