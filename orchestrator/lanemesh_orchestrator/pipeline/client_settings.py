"""The settings of a client's request, read from JSON texts within bounds."""

from __future__ import annotations

from collections.abc import Mapping

from lanemesh.rendering import valid_unicode
from pydantic import JsonValue

from lanemesh_orchestrator.pipeline.faults import PipelineFault, PipelineInvalid, quoted
from lanemesh_orchestrator.pipeline.json_limits import MAX_DEPTH, limit_faults, read_json

MAX_SETTINGS = 1_000
"""Maximum number of settings of a run or a deployed pipeline."""
MAX_SETTING_NAME = 1_024
"""Maximum length of the name of a setting, "component.key.key", in characters."""
MAX_SETTING_KEYS = 32
"""Maximum number of keys in the name of a setting."""
MAX_SETTINGS_CHARACTERS = 16 * 1024 * 1024
"""Maximum number of characters of all values of settings together."""


def read_settings(given: Mapping[str, str]) -> dict[str, JsonValue]:
    """The values of settings by name; a value that is not JSON is the text itself.

    Raises:
        PipelineInvalid: there are too many settings, or one is too long, too deep or not valid Unicode.
    """
    _check_limit("There are", len(given), "settings", "MAX_SETTINGS", MAX_SETTINGS)
    length = sum(map(len, given.values()))
    _check_limit("The settings have", length, "characters", "MAX_SETTINGS_CHARACTERS", MAX_SETTINGS_CHARACTERS)
    return {name: _value(name, text) for name, text in given.items()}


def _value(name: str, text: str) -> JsonValue:
    shown = valid_unicode(quoted(name))
    _check_limit(f"The name of the setting {shown} has", len(name), "characters", "MAX_SETTING_NAME", MAX_SETTING_NAME)
    _check_limit(f"The setting {shown} has", name.count("."), "keys", "MAX_SETTING_KEYS", MAX_SETTING_KEYS)
    try:
        value: JsonValue = read_json(text)
    except ValueError:
        value = text
    except RecursionError:
        raise _too_deep(shown) from None
    for fault in limit_faults(value, text):
        if fault.reason == "too-deep":
            raise _too_deep(shown)
        place = f" at {fault.pointer}" if fault.pointer else ""
        raise _refused("bad-setting", f"The setting {shown}{place}: {fault.message}", fault.hint)
    return value


def _check_limit(subject: str, count: int, what: str, name: str, limit: int) -> None:
    if count > limit:
        message = f"{subject} {count:,} {what}; at most {limit:,} are allowed ({name})."
        raise _refused("too-large", message, "Write the values into the pipeline.")


def _too_deep(shown: str) -> PipelineInvalid:
    message = f"The setting {shown} is nested too deeply; at most {MAX_DEPTH} levels are allowed (MAX_DEPTH)."
    return _refused("bad-setting", message, "Nest its objects and arrays less deeply.")


def _refused(reason: str, message: str, hint: str) -> PipelineInvalid:
    return PipelineInvalid([PipelineFault("", reason, message, hint)])
