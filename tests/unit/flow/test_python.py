"""A function of a Python file as a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lanemesh import Document, LanemeshError
from lanemesh.testing import run_node
from lanemesh_services.flow.python import Python, load_function

CODE = '''
import asyncio
from beside import SUFFIX

def shout(text, context):
    """Plain."""
    return f"{text.upper()}{SUFFIX} {context.component}"

async def wait(text: str):
    await asyncio.sleep(0)
    return None if text == "nothing" else text

def halves(text):
    yield text[:1]
    yield text[1:]

def breaks(text):
    raise ValueError(f"no {text}")

def empty():
    return 1

_private = 1
'''


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A file of functions, and a module beside it."""
    (tmp_path / "beside.py").write_text('SUFFIX = "!"\n')
    path = tmp_path / "own.py"
    path.write_text(CODE)
    return str(path)


@pytest.mark.parametrize(
    ("function", "items", "results"),
    [
        ("shout", ["a", "b"], ["A! python_1", "B! python_1"]),
        ("wait", ["a", "nothing", "b"], ["a", "b"]),
        ("halves", ["abc"], ["a", "bc"]),
    ],
)
def test_happy_functions_of_each_kind(file: str, function: str, items: list[str], results: list[str]) -> None:
    assert run_node(Python, config={"file": file, "function": function}, item=items).result == results


def test_happy_the_only_function_and_other_lanes(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(
        "from dataclasses import replace\n\ndef clean(document):\n"
        "    return replace(document, content=document.content.strip())\n"
    )
    found = run_node(Python, config={"file": str(path)}, item=[Document(" a ", source="x")]).result
    assert found == [Document("a", source="x")]


@pytest.mark.parametrize(
    "code",
    [
        "@functools.cache\ndef shout(text): return text.upper()",
        "@wrapped\nasync def shout(text): return text.upper()",
        "shout = functools.partial(_of, 'upper')",
        "class _Shout:\n    def __call__(self, text): return text.upper()\nshout = _Shout()",
        "shout = _Of().upper",
        "def shout(text, times: int = Field(default=1)): return text.upper() * times",
    ],
)
def test_happy_decorated_partial_and_callable_objects_are_functions(tmp_path: Path, code: str) -> None:
    head = """
import functools
from pydantic import Field
def _of(name, text): return getattr(text, name)()
class _Of:
    def upper(self, text): return text.upper()
def _wraps(function):
    @functools.wraps(function)
    def inner(*arguments): return function(*arguments)
    return inner
"""
    (tmp_path / "one.py").write_text(head + code.replace("@wrapped", "@_wraps"))
    assert run_node(Python, config={"file": str(tmp_path / "one.py")}, item=["a"]).result == ["A"]


def test_happy_types_are_no_functions(tmp_path: Path) -> None:
    code = """
from typing import Generic, NewType, TypeVar
Name = NewType("Name", str)
T = TypeVar("T")
class _Box(Generic[T]): pass
Boxes = _Box[str]
def shout(text): return text.upper()
"""
    (tmp_path / "one.py").write_text(code)
    assert run_node(Python, config={"file": str(tmp_path / "one.py")}, item=["a"]).result == ["A"]


def test_happy_an_importable_module() -> None:
    assert run_node(Python, config={"module": "textwrap", "function": "dedent"}, item="  a").result == ["a"]


def test_error_the_item_that_a_function_fails_for_is_skipped(file: str) -> None:
    with pytest.raises(ValueError, match="no a"):
        run_node(Python, config={"file": file, "function": "breaks"}, item="a")
    result = run_node(Python, config={"file": file, "function": "breaks"}, item="a", on_error="skip")
    assert (result.result, result.skipped) == ([], 1)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "config.file is not set, and neither is config.module"),
        ({"file": "/nonexistent/x.py"}, "is not a Python file: /nonexistent/x.py"),
        ({"file": "FILE"}, "has 5 public functions. Set it to one of them: shout, wait, halves, breaks, empty"),
        ({"file": "FILE", "function": "gone"}, 'is "gone", which .* does not have. Functions: shout'),
        ({"file": "FILE", "function": "empty"}, "takes no argument"),
        ({"module": "nonexistent_module", "function": "x"}, "cannot be imported: nonexistent_module"),
    ],
)
def test_error_functions_that_cannot_be_used(file: str, config: dict[str, Any], said: str) -> None:
    config = {key: file if value == "FILE" else value for key, value in config.items()}
    with pytest.raises(LanemeshError, match=said):
        run_node(Python, config=config, item="x")


def test_happy_an_edited_file_is_loaded_again(file: str) -> None:
    function = load_function(file, "", "halves")
    assert function.is_current()
    Path(file).write_text(CODE + "# edited\n")
    assert not function.is_current()
    function.close()
