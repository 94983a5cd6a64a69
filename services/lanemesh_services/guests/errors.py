"""The errors of guests: of agents that are users' code or run in a framework."""

from __future__ import annotations

from lanemesh import Code, Fault, LanemeshError, Question


def bad_agent_file(where: str, why: str, hint: str) -> LanemeshError:
    """The code of an agent cannot be used."""
    message = f"the agent in {where} cannot be used: {why}. {hint}"
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="bad-agent-file", message=message))


def bad_answer(where: str, why: str) -> LanemeshError:
    """An agent returned or yielded what is no answer."""
    message = f"{where}: {why}. Return or yield text, an Answer or a JSON value"
    return LanemeshError(Fault(code=Code.INTERNAL, reason="agent-failed", message=message))


def refuse_images(question: Question, where: str) -> None:
    """Raises LanemeshError if a question has images, which the framework of an agent does not get."""
    if question.images:
        message = f"{where} cannot pass the images of a question on to its model. Remove them, or use agent_wave"
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="agent-failed", message=message))


def refuse_tools(question: Question, where: str) -> None:
    """Raises LanemeshError if a question has tools of the client: an agent calls only those of its pipeline."""
    if question.tools:
        names = ", ".join(tool.name for tool in question.tools[:10])
        message = (
            f"{where} is an agent, which calls the tools of its pipeline, not those of a question ({names:.200}). Remove them, or "
            "connect the source to a model"
        )
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="agent-failed", message=message))


def framework_missing(package: str, install: str, why: str) -> LanemeshError:
    """The package of a framework cannot be imported."""
    message = f"the package {package} cannot be imported: {why}; install it with: {install}"
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="framework-missing", message=message))
