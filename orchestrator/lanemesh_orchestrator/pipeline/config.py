"""The config of a component: its profile, variables from the environment and settings put in, and checked."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lanemesh.client.variables import VARIABLE_PATTERN
from lanemesh.v1 import node_pb2
from pydantic import JsonValue

from lanemesh_orchestrator.pipeline.document import DocumentComponent
from lanemesh_orchestrator.pipeline.entries import EDITOR_CONFIG_KEYS
from lanemesh_orchestrator.pipeline.faults import PipelineFault, escape, listed, nearest, quoted
from lanemesh_orchestrator.pipeline.json_schema import ON_ERROR_SKIP, problems
from lanemesh_orchestrator.pipeline.secrets import from_variables, marked
from lanemesh_orchestrator.pipeline.variables import Insertions, is_of_operator, is_plain, missing, not_secret


@dataclass(frozen=True, slots=True)
class ResolvedConfig:
    """A config as its node gets it."""

    values: Mapping[str, JsonValue] = field(repr=False)
    """The config."""
    secret_pointers: Sequence[str]
    """Its secret values: JSON pointers, some with a range of characters, from:to, of a string."""
    faults: Sequence[PipelineFault]
    """Its faults."""


@dataclass(slots=True)
class _Config:
    """A config in the making."""

    component: DocumentComponent
    schema: Mapping[str, Any]
    insertions: Insertions
    """Counts what variables insert into all configs of the document."""
    values: dict[str, JsonValue] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    """Where in the document each value stands."""
    put_in: list[list[str]] = field(default_factory=list)
    """The keys, from the top of the config, of values of settings."""
    profile_is_missing: bool = False
    """The profile is unknown, so its values are missing."""
    unsettled: set[str] = field(default_factory=set)
    """Keys whose value is unknown because a variable is missing."""
    from_variables: dict[tuple[str, str], None] = field(default_factory=dict)
    """JSON pointers into the config, each with a text that a variable has put in there; each pair once."""
    of_operator: dict[str, str] = field(default_factory=dict)
    """The secret variables of the operator in a client's document: JSON pointers into the config, each with the name."""
    whole: set[str] = field(default_factory=set)
    """JSON pointers to strings that are one variable of the operator and nothing else."""
    faults: list[PipelineFault] = field(default_factory=list)
    own: dict[int, dict[str, JsonValue]] = field(default_factory=dict)
    """Objects that were copied so that settings can change them, by their `id`."""

    @property
    def pointer(self) -> str:
        return f"{self.component.pointer}/config"

    @property
    def known(self) -> Mapping[str, Any]:
        known = self.schema.get("properties", {})
        return known if isinstance(known, dict) else {}

    @property
    def brought(self) -> tuple[str, str]:
        """Origins of values that stand in the node type, not in the document."""
        return f"{self.pointer}/profile", f"{self.component.pointer}/provider"

    def put(self, values: Mapping[str, JsonValue], pointer: str | None, fixed: str = "") -> None:
        """Merges values into the config; their pointers are below `pointer`, or all `fixed`."""
        for key, value in values.items():
            self.values[key] = value
            self.origins[key] = fixed if pointer is None else f"{pointer}/{escape(key)}"

    def fault(self, pointer: str, reason: str, message: str, hint: str) -> None:
        self.faults.append(PipelineFault(pointer, reason, message, hint))


def resolve_config(
    component: DocumentComponent,
    manifest: node_pb2.Manifest | None,
    *,
    environment: Mapping[str, str],
    settings: Mapping[str, JsonValue],
    folder: str = "",
    insertions: Insertions | None = None,
) -> ResolvedConfig:
    """The config for the node, its secret values, and its faults.

    In increasing precedence: if the document uses an alias of the node type, the values of the profile with that name; the profile
    of the node type (`Manifest.profiles_json`); the profile in the config (`{"profile": "p", "p": {...}}`); the values beside it;
    and settings: "key" or "key.key" to a value, where that of "key.key" is put into that of "key". `${NAME}` in a string is
    replaced from the environment, `$${NAME}` represents `${NAME}` itself. Settings are used unchanged. A relative path in the
    document is relative to `folder`, if there is one. Without a manifest (an unknown provider) a config is not checked: it stays
    unchanged, and has no faults. `insertions` counts for all configs of a document.

    Raises:
        PipelineInvalid: variables insert more than 16 MiB into the configs of the document (`MAX_INSERTED`).
    """
    if manifest is None:
        return ResolvedConfig(component.entry.config, (), ())
    config = _Config(component, json_object(manifest.config_schema_json), insertions or Insertions())
    raw = dict(component.entry.config)
    settings = dict(settings)
    profile_set = "profile" in settings and "profile" not in config.known
    if profile_set:
        raw["profile"] = settings.pop("profile")
    _take_alias(config, manifest)
    raw = _without_editor_keys(config, raw, manifest)
    _take_profile(config, raw, manifest, "" if profile_set else f"{config.pointer}/profile")
    config.put(raw, config.pointer)
    _take_on_error(config, manifest)
    for key in list(config.values):
        pointer = f"/{escape(key)}"
        config.values[key] = _substitute(config, key, config.values[key], config.origins[key], pointer, environment)
        if folder and config.origins[key] not in config.brought:
            from lanemesh_orchestrator.pipeline.paths import from_folder

            config.values[key] = from_folder(config.values[key], config.known.get(key), config.schema, folder)
    for path in sorted(settings, key=lambda path: (path.count("."), path)):  # settings have no order on the wire
        _set(config, path, settings[path])
    _drop_replaced(config)
    secret = marked(manifest.config_schema_json, config.schema, config.values)
    _check_operator_variables(config, manifest, secret)
    _check(config, manifest)
    secrets = [*secret, *from_variables(config.values, config.from_variables)]
    return ResolvedConfig(config.values, tuple(dict.fromkeys(secrets)), tuple(config.faults))


def json_object(text: str) -> dict[str, Any]:
    """The JSON object in a text of a manifest; empty if there is none."""
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _without_editor_keys(
    config: _Config, raw: dict[str, JsonValue], manifest: node_pb2.Manifest
) -> dict[str, JsonValue]:
    ignored = {key for key in EDITOR_CONFIG_KEYS if key not in config.known}
    if raw.get("type") not in (config.component.entry.provider, manifest.provider):
        ignored.discard("type")
    if not isinstance(raw.get("lanes"), list):  # a misspelt `lane`, not RocketRide's form
        ignored.discard("lanes")
    parameters = raw.get("parameters")
    if "parameters" in ignored and isinstance(parameters, dict):
        config.put(parameters, f"{config.pointer}/parameters")
    return {key: value for key, value in raw.items() if key not in ignored}


def _take_alias(config: _Config, manifest: node_pb2.Manifest) -> None:
    """Applies the profile with the name of the used alias, if there is one."""
    alias = config.component.entry.provider
    if alias == manifest.provider:
        return
    values = json_object(manifest.profiles_json).get(alias)
    if isinstance(values, dict):
        config.put(values, None, f"{config.component.pointer}/provider")


def _take_profile(config: _Config, raw: dict[str, JsonValue], manifest: node_pb2.Manifest, pointer: str) -> None:
    """Removes `profile`, at `pointer`, and the profiles from a raw config, and adds the values of the selected one."""
    profiles = json_object(manifest.profiles_json)
    offered = {name: values for name, values in profiles.items() if isinstance(values, dict)}
    if "profile" in config.known:
        return
    name = raw.get("profile")
    for key in [key for key in raw if key in offered and key != name and key not in config.known]:
        if isinstance(raw[key], dict):
            del raw[key]
    if name is None:
        return
    del raw["profile"]
    reason = "bad-config" if pointer else "bad-setting"
    subject = "`profile`" if pointer else f"The setting {quoted(f'{config.component.entry.id}.profile')}"
    if not isinstance(name, str):
        config.profile_is_missing = True
        config.fault(pointer, reason, f"{subject} must be a string.", f"Profiles: {listed(sorted(offered))}.")
        return
    inline = raw.pop(name, None) if name not in config.known else None
    if name in offered:
        config.put(offered[name], None, f"{config.pointer}/profile")
    elif inline is None:
        config.profile_is_missing = True
        beside = [key for key, value in raw.items() if isinstance(value, dict) and key not in config.known]
        for key in beside:  # the values of profiles too, one of which may have been meant
            del raw[key]
        near = nearest(name, [*offered, *beside])
        hint = f"Nearest: {near}. " if near else ""
        which = "" if pointer else f"{subject}: "
        config.fault(
            pointer,
            "unknown-profile" if pointer else "bad-setting",
            f"{which}{manifest.provider} has no profile {quoted(name)}.",
            f"{hint}Profiles: {listed(sorted(offered))}; or write its values beside it as {quoted(name)}: {{...}}.",
        )
    if isinstance(inline, dict):
        config.put(inline, f"{config.pointer}/{escape(name)}")
    elif inline is not None:
        message = f"The values of the profile {quoted(name)} must be an object."
        config.fault(f"{config.pointer}/{escape(name)}", "bad-config", message, "Write {...}.")


def _substitute(
    config: _Config, key: str, value: JsonValue, origin: str, pointer: str, environment: Mapping[str, str]
) -> JsonValue:
    """A value, which stands at `pointer` of the config and came from `origin` of the document, with its variables replaced."""
    if isinstance(value, list):
        return [
            _substitute(config, key, inner, f"{origin}/{index}", f"{pointer}/{index}", environment)
            for index, inner in enumerate(value)
        ]
    if isinstance(value, dict):
        return {
            name: _substitute(config, key, inner, f"{origin}/{escape(name)}", f"{pointer}/{escape(name)}", environment)
            for name, inner in value.items()
        }
    if not isinstance(value, str) or "${" not in value:
        return value

    def replacement(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped:
            return match.group()[1:]
        if name not in environment:
            config.unsettled.add(key)
            config.fault(origin, "missing-variable", *missing(name, environment))
            return match.group()
        value = _text(environment[name])
        if value is None:
            config.unsettled.add(key)
            message = f"The environment variable {name} holds bytes that are not UTF-8 text."
            config.fault(origin, "bad-variable", message, f"Set {name} to UTF-8 text.")
            return match.group()
        config.insertions.add(value, origin)
        if is_of_operator(name, environment) and match.group() == match.string:
            config.whole.add(pointer)
        if is_plain(name, environment):
            return value
        config.from_variables[pointer, value] = None
        if is_of_operator(name, environment):
            config.of_operator[pointer] = name
        return value

    return VARIABLE_PATTERN.sub(replacement, value)


def _text(value: str) -> str | None:
    """A variable as UTF-8 text in any locale; None if it holds other bytes."""
    if value.isascii():
        return value
    with contextlib.suppress(UnicodeError):
        return os.fsencode(value).decode()
    with contextlib.suppress(UnicodeError):  # text of another locale
        return value if value.encode() else None
    return None


def _set(config: _Config, path: str, value: JsonValue) -> None:
    keys = path.split(".")
    inner = config.values
    for key in keys[:-1]:
        deeper = inner.setdefault(key, {})
        if not isinstance(deeper, dict):
            setting = f"{config.component.entry.id}.{path}"
            message = f"The setting {quoted(setting)} addresses a key in `{key}`, which is not an object."
            config.fault("", "bad-setting", message, f"Set {config.component.entry.id}.{key} as a whole.")
            return
        if id(deeper) not in config.own:
            deeper = dict(deeper)
            config.own[id(deeper)] = deeper
            inner[key] = deeper
        inner = deeper
    inner[keys[-1]] = value
    config.put_in.append(keys)
    if len(keys) == 1:
        config.unsettled.discard(keys[0])


def skips_itself(component: DocumentComponent, manifest: node_pb2.Manifest) -> bool:
    """Whether a component shall leave out what it cannot read (`"on_error": "skip"`), and does that by a setting, because its node
    reads its inputs itself and has no firings. The schema of the setting has the keyword `ON_ERROR_SKIP`."""
    if component.entry.on_error != "skip" or not manifest.is_streaming_input:
        return False
    known = json_object(manifest.config_schema_json).get("properties", {})
    return isinstance(known, dict) and bool(_skipping(known))


def _skipping(known: Mapping[str, Any]) -> dict[str, JsonValue]:
    """The settings that let a node leave out what it cannot read, with the values that do so."""
    return {key: rule[ON_ERROR_SKIP] for key, rule in known.items() if isinstance(rule, dict) and ON_ERROR_SKIP in rule}


def _take_on_error(config: _Config, manifest: node_pb2.Manifest) -> None:
    """Puts in the settings that `"on_error": "skip"` stands for, unless the document has others."""
    if skips_itself(config.component, manifest):
        own = {key: value for key, value in _skipping(config.known).items() if key not in config.values}
        config.put(own, None, f"{config.component.pointer}/on_error")


def _drop_replaced(config: _Config) -> None:
    """Removes the records of variables in values that a setting has replaced."""
    replaced = {"".join(f"/{escape(key)}" for key in keys) for keys in config.put_in}
    if not replaced:
        return

    def stays(pointer: str) -> bool:
        return not any(pointer[:end] in replaced for end in _ends(pointer))

    config.from_variables = {one: None for one in config.from_variables if stays(one[0])}
    config.of_operator = {pointer: name for pointer, name in config.of_operator.items() if stays(pointer)}
    config.whole = set(filter(stays, config.whole))


def _check_operator_variables(config: _Config, manifest: node_pb2.Manifest, secret: Sequence[str]) -> None:
    """A client's document must neither show the operator's secret variables, nor send them to an address that it chooses. `secret`
    are JSON pointers to the values that are marked as secret."""
    if not config.of_operator:
        return
    from lanemesh_orchestrator.pipeline.addresses import chosen_address, exposed

    for pointer, name in exposed(config.of_operator, config.values, config.schema, secret):
        setting, where = _place(config, pointer)
        config.unsettled.add(setting)  # its problems would reveal the value
        config.fault(where, "variable-not-secret", *not_secret(name, manifest.provider, setting))
    replaced = {keys[0] for keys in config.put_in}
    brought = {key for key, origin in config.origins.items() if origin in config.brought} - replaced
    chosen = chosen_address(config.values, config.schema, brought, config.whole)
    if chosen is None:
        return
    address = chosen[1:].replace("/", ".").replace("~1", "/").replace("~0", "~")
    name = next(iter(config.of_operator.values()))
    message = (
        f"The component would send the operator's variable {name} to an address that the document chooses ({address})."
    )
    hint = (
        f"Send {name} with the run, remove {address}, or have the operator allow a variable with the address as well, and write "
        f"only that into {address}."
    )
    config.fault(_place(config, chosen)[1], "operator-variable", message, hint)


def _place(config: _Config, pointer: str) -> tuple[str, str]:
    """The key of the setting with a value at a pointer into the config, and where the value stands in the document."""
    _, key, *inner = pointer.split("/")
    setting = key.replace("~1", "/").replace("~0", "~")
    if setting not in config.origins:  # a setting that was put in
        return setting, config.pointer
    origin = config.origins[setting]
    return setting, origin if origin in config.brought else "/".join((origin, *inner))


def _ends(pointer: str) -> Iterator[int]:
    """Where the pointers to the values around a value end in its own pointer, which is the last one."""
    end = pointer.find("/", 1)
    while end > 0:
        yield end
        end = pointer.find("/", end + 1)
    yield len(pointer)


def _check(config: _Config, manifest: node_pb2.Manifest) -> None:
    if not config.schema:  # without a schema every config is valid
        if manifest.config_schema_json.strip() not in ("", "{}"):
            message = f"The manifest of {manifest.provider} has a config schema that is not a JSON object."
            config.fault(f"{config.component.pointer}/provider", "bad-manifest", message, "Report it to its author.")
        return
    who = f"{config.component.entry.id or 'this component'} ({manifest.provider})"
    for problem in problems(manifest.config_schema_json, config.schema, config.values):
        if problem.path and problem.path[0] in config.unsettled:
            continue
        if problem.reason == "missing-config-key" and not problem.path and config.profile_is_missing:
            continue
        hint = problem.hint or f"`lanemesh nodes {manifest.provider}` shows its settings."
        setting = _setting_of(config, problem.path)
        if setting is not None:
            reason = "unknown-setting" if problem.reason == "unknown-config-key" else "bad-setting"
            name = quoted(f"{config.component.entry.id}.{'.'.join(setting)}")
            inside = ".".join(str(part) for part in problem.path[len(setting) :])
            subject = f"`{inside}` " if inside else ""
            message = f"The setting {name} is invalid for {manifest.provider}: {subject or 'it '}{problem.message}."
            config.fault("", reason, message, hint)
            continue
        inner = "".join(f"/{escape(str(part))}" for part in problem.path[1:])
        pointer = config.pointer
        if problem.path:
            first = str(problem.path[0])
            origin = config.origins.get(first, f"{pointer}/{escape(first)}")
            pointer = origin if origin in config.brought else origin + inner
        field_name = ".".join(str(part) for part in problem.path)
        subject = f"`{field_name}` " if field_name else ""
        config.fault(pointer, problem.reason, f"In the config of {who}: {subject}{problem.message}.", hint)


def _setting_of(config: _Config, path: Sequence[str | int]) -> list[str] | None:
    """The setting of the value at a path of the config; None if it is from the document."""
    where = [str(part) for part in path]
    for keys in reversed(config.put_in):
        if where[: len(keys)] == keys or (where and where[0] not in config.origins and keys[: len(where)] == where):
            return keys
    return None
