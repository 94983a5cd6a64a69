"""The settings of a run or a deployment, "component.key" to a value: those of each component, and the faults of the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from lanemesh_orchestrator.pipeline.faults import MAX_FAULTS, PipelineFault, listed, nearest, quoted


def settings_by_component(settings: Mapping[str, JsonValue]) -> dict[str, dict[str, JsonValue]]:
    """The settings of each component, without its id in front."""
    found: dict[str, dict[str, JsonValue]] = {}
    for path, value in settings.items():
        if _is_complete(path):
            component, _, rest = path.partition(".")
            found.setdefault(component, {})[rest] = value
    return found


def check_settings(settings: Mapping[str, JsonValue], components: Iterable[str]) -> list[PipelineFault]:
    """Settings that belong to no component."""
    known = set(components)
    names = listed(sorted(known))
    faults: list[PipelineFault] = []
    for path in settings:
        if len(faults) > MAX_FAULTS:
            break
        component = path.partition(".")[0]
        if not _is_complete(path):
            message = f"The setting {quoted(path)} does not name a component and a key."
            faults.append(PipelineFault("", "bad-setting", message, "Write component.key=value."))
        elif component not in known:
            near = nearest(component, known)
            hint = f"Nearest: {near}." if near else f"Components: {names}."
            message = f"The setting {quoted(path)} is for {quoted(component)}, which is not a component."
            faults.append(PipelineFault("", "unknown-setting", message, hint))
    return faults


def _is_complete(path: str) -> bool:
    return "." in path and all(path.split("."))
