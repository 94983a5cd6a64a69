"""What operators of node servers permit."""

from __future__ import annotations

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.permissions import Permissions


def test_names_and_hosts_are_granted() -> None:
    permissions = Permissions.of(["shell", " host:localhost:80 ", "host:*.Example.io", "host:[::1]:9", ""])
    assert (permissions.allows("shell"), permissions.allows("write")) == (True, False)
    asked = [("localhost", 80), ("localhost", 81), ("a.example.IO", 1), ("::1", 9), ("[::1]", 9), ("127.0.0.1", 80)]
    assert [permissions.allows_host(*host) for host in asked] == [True, False, True, True, True, False]
    assert Permissions.of(["hosts"]).allows_host("10.0.0.1", 1)


def test_the_environment_adds_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Permissions.local().allows("shell")
    monkeypatch.setenv("LANEMESH_ALLOW", "shell, host:a")
    assert Permissions.local().granted == {"shell", "write", "hosts", "commands", "host:a"}
    assert Permissions.of_server(["write"]).granted == {"shell", "write", "host:a"}


@pytest.mark.parametrize("name", ["sell", "host:", "host:a b", "host:a:b", "host:::1"])
def test_error_there_is_no_such_permission(name: str) -> None:
    with pytest.raises(LanemeshError, match=r"there is no permission .*use one of: shell, write, hosts, "):
        Permissions.of([name])


def test_error_what_is_not_permitted_says_who_permits_it() -> None:
    with pytest.raises(LanemeshError, match=r"tool_1: .* permit it to run shell commands.*--allow shell") as caught:
        Permissions.of([]).check("shell", "tool_1", "run shell commands")
    assert caught.value.fault.reason == "not-permitted"
