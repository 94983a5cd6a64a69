"""The synchronous twins have every method and every argument of the asynchronous ones."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import fields, is_dataclass

import lanemesh
import lanemesh_orchestrator.sync
import pytest
from lanemesh.channels import Channels
from lanemesh.channels.channels import Subscription
from lanemesh.client import sync, sync_channels, sync_runs, sync_sessions
from lanemesh.client.run_host import RunHost
from lanemesh.client.sync_channels import SyncChannels, SyncSubscription
from lanemesh.client.sync_runs import SyncView
from lanemesh.client.views import View

OF_MESHES = {"orchestrator", "graph"}
"""What a mesh has besides: its orchestrator, for those who embed one."""
OF_CLIENTS = {"address", "forward_tokens"}
"""What a client has besides. Servers that pass on calls, which are asynchronous, forward the tokens of their callers."""
OF_SOURCES = {"open_updates", "close_updates"}
"""What views of a run call."""
OF_NODES = {"publish_sync", "release", "end", "waiting"}
"""What the channels of a node have besides."""
ATTRIBUTES = {"id", "state", "reason", "missed", "channels", "pipeline", "conversation"}
"""What an asynchronous run or session has as plain attributes."""
TWINS = [
    (lanemesh.Mesh, lanemesh.SyncMesh, OF_MESHES),
    (lanemesh.Client, lanemesh.SyncClient, OF_CLIENTS),
    (lanemesh.Run, lanemesh.SyncRun, OF_SOURCES),
    (lanemesh.Request, lanemesh.SyncRequest, OF_SOURCES),
    (lanemesh.DetachedRun, lanemesh.SyncDetachedRun, OF_SOURCES),
    (lanemesh.Session, lanemesh.SyncSession, set()),
    (Channels, SyncChannels, OF_NODES),
    (Subscription, SyncSubscription, set()),
    (View, SyncView, {"aclose"}),
]


def surface(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def arguments(cls: type, name: str) -> list[tuple[str, object, object]]:
    found = inspect.signature(getattr(cls, name)).parameters.values()
    return [(one.name, one.kind, one.default) for one in found]


@pytest.mark.parametrize(
    ("asynchronous", "synchronous", "besides"), TWINS, ids=lambda one: getattr(one, "__name__", "")
)
def test_a_twin_has_every_method_and_every_argument(asynchronous: type, synchronous: type, besides: set[str]) -> None:
    shared = surface(asynchronous) - besides
    assert shared - surface(synchronous) == set()
    assert surface(synchronous) - surface(asynchronous) <= {"close", *ATTRIBUTES}
    methods = [name for name in sorted(shared) if inspect.isfunction(getattr(asynchronous, name))]
    assert {name: arguments(synchronous, name) for name in methods} == {
        name: arguments(asynchronous, name) for name in methods
    }


@pytest.mark.parametrize(
    "cls", sorted({base for *pair, _ in TWINS for cls in pair for base in cls.__mro__[:-1]}, key=str)
)
def test_a_method_uses_every_argument(cls: type) -> None:
    methods = {name: method for name, method in vars(cls).items() if inspect.isfunction(method) and name[:1] != "_"}
    unused = {}
    for name, method in methods.items():
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        missing = set(inspect.signature(method).parameters) - used - {"self"}
        if missing and name not in OF_SOURCES:
            unused[name] = missing
    assert unused == {}


def test_every_synchronous_class_is_compared() -> None:
    modules = [sync, sync_channels, sync_runs, sync_sessions, lanemesh_orchestrator.sync]
    values = (value for module in modules for name, value in vars(module).items() if name.startswith("Sync"))
    found = {value for value in values if isinstance(value, type)}
    assert found - {sync.SyncHost} == {synchronous for _, synchronous, _ in TWINS}
    assert {getattr(lanemesh, name) for name in lanemesh.__all__ if name.startswith("Sync")} <= found


def test_a_mesh_and_a_client_have_one_surface() -> None:
    assert surface(lanemesh.Mesh) - OF_MESHES == surface(lanemesh.Client) - OF_CLIENTS
    for name in sorted(surface(RunHost)):
        assert arguments(lanemesh.Mesh, name) == arguments(lanemesh.Client, name) == arguments(RunHost, name)
        assert arguments(lanemesh.SyncMesh, name) == arguments(lanemesh.SyncClient, name)


@pytest.mark.parametrize("cls", [lanemesh.Mesh, lanemesh.Client, lanemesh.SyncMesh, lanemesh.SyncClient, RunHost])
def test_a_request_takes_the_arguments_of_a_run_of_one_input(cls: type) -> None:
    of_runs = {name for name, _, _ in arguments(cls, "run")}
    of_requests = {name for name, _, _ in arguments(cls, "request")}
    assert of_runs - of_requests == {"inputs", "open_input"}
    assert of_requests - of_runs == {"retries"}


def test_a_mesh_takes_the_same_options_with_and_without_await() -> None:
    assert arguments(lanemesh.Mesh, "__init__") == arguments(lanemesh.SyncMesh, "__init__")
    assert arguments(lanemesh.Client, "__init__") == arguments(lanemesh.SyncClient, "__init__")


def annotated(cls: type) -> dict[str, str]:
    """Every annotation of the public interface of a class, by where it is."""
    found = {name: str(value) for name, value in getattr(cls, "__annotations__", {}).items() if name[0] != "_"}
    for name in sorted(surface(cls) | {"__init__"}):
        value = inspect.getattr_static(cls, name)
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        for parameter, annotation in getattr(function, "__annotations__", {}).items():
            found[f"{name}({parameter})"] = str(annotation)
    return found


@pytest.mark.parametrize("cls", [lanemesh.Mesh, lanemesh.Client, lanemesh.SyncMesh, lanemesh.SyncClient, RunHost])
def test_no_annotation_of_a_mesh_or_a_client_is_of_protobuf(cls: type) -> None:
    found = annotated(cls)
    assert {"runs(return)", "node_types(return)", "start(pipeline)"} <= set(found)
    assert {place: text for place, text in found.items() if "pb2" in text} == {}


def is_value(name: str) -> bool:
    value: object = getattr(lanemesh, name)
    return isinstance(value, type) and is_dataclass(value)


@pytest.mark.parametrize("name", [name for name in lanemesh.__all__ if is_value(name)])
def test_no_field_of_a_public_value_is_of_protobuf(name: str) -> None:
    cls = getattr(lanemesh, name)
    assert {field.name: field.type for field in fields(cls) if "pb2" in str(field.type)} == {}
    assert cls.__dataclass_params__.frozen


def test_every_public_name_is_there() -> None:
    assert [name for name in lanemesh.__all__ if not hasattr(lanemesh, name)] == []
