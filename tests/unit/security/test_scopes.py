"""Each method of each service has scopes, and the page lists them as they are."""

from __future__ import annotations

import importlib
import pkgutil

import lanemesh.v1
import pytest
from grpc_reflection.v1alpha import reflection_pb2
from lanemesh._grpc.auth.callers import Caller
from lanemesh._grpc.auth.scopes import METHOD_SCOPES, Scope, needs_token, scopes_of


def declared() -> set[str]:
    """The methods of the protos, and of the other services that our servers have."""
    from a2a.types import a2a_pb2

    files = [reflection_pb2.DESCRIPTOR, a2a_pb2.DESCRIPTOR]
    for module in pkgutil.iter_modules(lanemesh.v1.__path__):
        if module.name.endswith("_pb2"):
            files.append(importlib.import_module(f"lanemesh.v1.{module.name}").DESCRIPTOR)
    return {
        f"/{service.full_name}/{method.name}"
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    }


def test_each_method_has_an_entry_and_each_entry_a_method() -> None:
    assert set(METHOD_SCOPES) == declared()


def test_no_method_is_open_but_health() -> None:
    assert all(METHOD_SCOPES.values())
    assert [method for method in METHOD_SCOPES if not needs_token(method)] == []
    assert not needs_token("/grpc.health.v1.Health/Check")
    assert needs_token("/grpc.health.v1.Healthy/Check")


def test_a_method_without_an_entry_is_for_admins() -> None:
    assert scopes_of("/other.Service/Method") == {Scope.ADMIN}


@pytest.mark.parametrize("method", sorted(method for method, scopes in METHOD_SCOPES.items() if Scope.RUN in scopes))
def test_admins_may_do_what_those_who_run_may(method: str) -> None:
    assert Caller(name="admin", scopes=frozenset({Scope.ADMIN})).may(*scopes_of(method))


@pytest.mark.parametrize("name", ["NodeService/Host", "NodeService/Exchange", "RegistryService/Register"])
def test_only_members_of_the_mesh_do_their_work(name: str) -> None:
    assert scopes_of(f"/lanemesh.v1.{name}") == {Scope.NODE}
