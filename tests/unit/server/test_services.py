"""Files with node types: the modules beside them, and the reports of their errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Context, In, Node, Out, Service
from lanemesh.faults import LanemeshError
from lanemesh.server.host.host import NodeHost
from lanemesh.server.services import all_services, load_file, service_names, taken_names

SHOUT = """
from lanemesh import Context, In, Node, Out
from shouting import louder


class Shout(Node):
    text: In[str]
    shouted: Out[str]

    def process(self, context: Context):
        return {"shouted": louder(self.text)}
"""


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in sys.modules.keys() - modules:
        del sys.modules[name]


def refused(path: Path) -> LanemeshError:
    with pytest.raises(LanemeshError) as caught:
        load_file(path)
    return caught.value


def test_a_file_imports_a_module_beside_it_also_later(tmp_path: Path) -> None:
    (tmp_path / "shouting.py").write_text("def louder(text):\n    import marks\n    return text.upper() + marks.MARK\n")
    (tmp_path / "marks.py").write_text("MARK = '!'\n")
    (tmp_path / "more.py").write_text(SHOUT)

    (shout,) = load_file(tmp_path / "more.py").nodes

    assert shout.provider == "shout"
    assert sys.modules[shout.__module__].louder("oh") == "OH!"
    assert not {"shouting", "marks"} & sys.modules.keys()


def test_a_module_beside_it_replaces_no_installed_one(tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text("raise AssertionError")
    (tmp_path / "shouting.py").write_text("import colorsys\n\nlouder = str.upper\n")
    (tmp_path / "more.py").write_text(SHOUT)

    load_file(tmp_path / "more.py")

    assert not Path(sys.modules["colorsys"].__file__ or "").is_relative_to(tmp_path)


def test_an_error_of_a_file_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "more.py"
    path.write_text("import math\n\nhalf = 1 / 0\n")

    fault = refused(path).fault

    assert fault.message == f"{path} cannot be loaded: ZeroDivisionError: division by zero ({path}, line 3)"
    assert f'File "{path}", line 3, in <module>\n    half = 1 / 0\n' in fault.traceback
    assert "importlib" not in fault.traceback
    assert "lanemesh/server" not in fault.traceback


def test_an_error_of_a_module_beside_it_is_reported_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "shouting.py").write_text("\nimport nothing_of_this_name\n")
    (tmp_path / "more.py").write_text(SHOUT)

    message = str(refused(tmp_path / "more.py"))

    assert message.endswith(f"No module named 'nothing_of_this_name' ({tmp_path / 'shouting.py'}, line 2)")


def test_a_syntax_error_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "more.py"
    path.write_text("class Shout(:\n")

    fault = refused(path).fault

    assert fault.message.startswith(f"{path} cannot be loaded: SyntaxError: ")
    assert fault.message.count("line 1") == 1
    assert f'File "{path}", line 1\n    class Shout(:\n' in fault.traceback
    assert "lanemesh/server" not in fault.traceback


def test_an_invalid_node_class_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "more.py"
    path.write_text("from lanemesh import Node\n\n\nclass Shout(Node):\n    def process(self):\n        return {}\n")

    fault = refused(path).fault

    assert fault.reason == "bad-node"
    assert "the node class Shout has a `process` that takes (self)" in fault.message
    assert fault.message.endswith(f"` ({path}, line 4)")


def test_a_folder_is_distinguished_from_a_file(tmp_path: Path) -> None:
    assert str(refused(tmp_path)) == f"{tmp_path} is a folder; name a Python file in it that defines node types"


def test_an_alias_of_another_node_type_is_reported_once_when_node_types_are_listed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = type("Echo", (_Says,), {"aliases": ("say", "repeat")})
    second = type("Say", (_Says,), {"aliases": ("repeat", "tell")})

    host = NodeHost([Service("one", [first]), Service("two", [second])], name="here")
    host.manifests()
    host.manifests()

    assert [record.getMessage() for record in caplog.records] == [
        'the alias "say" of echo means say, which has the same name; rename one of them',
        'the alias "repeat" of say means echo, which has the same name; rename one of them',
    ]


def test_the_aliases_of_the_installed_services_are_their_own() -> None:
    assert taken_names(node for service in all_services(service_names()) for node in service.nodes) == []


class _Says(Node):
    text: In[str]
    said: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        return {"said": self.text}
