"""Code of users: a file or a module, what it raises, and whether it has changed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lanemesh.extend import UserCode, UserCodeFailed


def test_a_file_is_loaded_apart_with_the_modules_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("value = 1")
    file = tmp_path / "mine.py"
    file.write_text("import beside\nvalue = beside.value")

    first, second = UserCode.of_file(file), UserCode.of_file(file)

    assert first.module.value == second.module.value == 1
    assert first.module is not second.module
    loaded = {
        name for name, module in sys.modules.items() if str(getattr(module, "__file__", "")).startswith(str(tmp_path))
    }
    first.close()
    second.close()
    assert loaded
    assert not loaded & set(sys.modules)


def test_a_file_is_not_current_once_it_or_what_it_imports_has_changed(tmp_path: Path) -> None:
    beside, file = tmp_path / "beside.py", tmp_path / "mine.py"
    beside.write_text("value = 1")
    file.write_text("import beside")
    code = UserCode.of_file(file)
    was_current = code.is_current()

    beside.write_text("value = 2222")

    assert (was_current, code.is_current()) == (True, False)
    code.close()


def test_an_installed_module_is_current_and_stays(tmp_path: Path) -> None:
    code = UserCode.of_module("json")
    code.close()

    assert code.is_current()
    assert sys.modules["json"] is code.module


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "import nothing_like_it",
            r"ModuleNotFoundError: No module named 'nothing_like_it' \(File \".*mine.py\", line 1",
        ),
        ("def f(:", r"SyntaxError: .*"),
        ("\nraise SystemExit(3)", r"SystemExit: 3 \(File \".*mine.py\", line 2"),
    ],
)
def test_error_what_the_code_raises_is_named_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)

    with pytest.raises(UserCodeFailed, match=expected):
        UserCode.of_file(file)


def test_error_a_module_that_is_not_there() -> None:
    with pytest.raises(UserCodeFailed, match="No module named 'nothing_like_it'"):
        UserCode.of_module("nothing_like_it")
