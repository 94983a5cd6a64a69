"""Files of users: the modules beside them, two files of one name, edits, and what is kept in `sys.modules`."""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from lanemesh.server import user_modules
from lanemesh.server.services import load_file, load_files
from lanemesh.server.user_modules import MAX_FAILED, MAX_SUPERSEDED, PREFIX, UserModules

NODE = """
from lanemesh import Context, In, Node, Out
from helpers import MARK


class {name}(Node):
    text: In[str]
    out: Out[str]

    def process(self, context: Context):
        return {{"out": self.text + MARK}}
"""


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    modules, finders = dict(sys.modules), list(sys.meta_path)
    for name in modules:
        if name.startswith(PREFIX):  # loaded by another test before
            del sys.modules[name]
    yield
    sys.meta_path[:] = finders
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]
    sys.modules.update(modules)


@pytest.fixture
def loader() -> UserModules:
    return UserModules()


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, text in files.items():
        (folder / f"{stem}.py").write_text(text)
    return folder


def test_two_files_of_one_name_have_their_own_neighbours(loader: UserModules, tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / name, nodes="import helpers\nimport helpers as again\n", helpers=f"NAME = {name!r}\n")

    a, b = (loader.load(tmp_path / name / "nodes.py")[0] for name in "ab")

    assert (a.helpers.NAME, b.helpers.NAME, a.again.NAME) == ("a", "b", "a")
    assert "helpers" not in sys.modules


def test_a_module_of_the_program_itself_is_not_taken_for_the_neighbour(
    loader: UserModules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write(tmp_path / "program", helpers="NAME = 'program'\n")
    monkeypatch.setattr(sys, "path", [str(program), *sys.path])
    import helpers  # type: ignore[import-not-found]

    folder = write(tmp_path / "files", nodes="import helpers\n", helpers="NAME = 'files'\n")

    assert loader.load(folder / "nodes.py")[0].helpers.NAME == "files"
    assert helpers.NAME == "program"


def test_packages_beside_a_file_and_relative_imports(loader: UserModules, tmp_path: Path) -> None:
    write(tmp_path, nodes="import shop.till\nfrom shop.till import TOTAL\nfrom shop import till as named\n")
    write(tmp_path / "shop", __init__="", till="from .prices import PRICE\nimport tax\nTOTAL = PRICE + tax.TAX\n")
    write(tmp_path / "shop", prices="PRICE = 3\n")
    write(tmp_path, tax="TAX = 1\n")

    module, _ = loader.load(tmp_path / "nodes.py")

    assert (module.TOTAL, module.shop.till.TOTAL, module.named.TOTAL) == (4, 4, 4)


def test_a_file_in_a_package_imports_relatively_and_absolutely(loader: UserModules, tmp_path: Path) -> None:
    write(tmp_path / "mine", __init__="START = 1\n", helpers="NAME = 'helpers'\n")
    write(tmp_path / "mine" / "deep", __init__="")
    nodes = "from . import a\nfrom .. import START\nfrom mine.helpers import NAME\nimport a as beside\n"
    write(tmp_path / "mine" / "deep", nodes=nodes, a="")

    module, _ = loader.load(tmp_path / "mine" / "deep" / "nodes.py")

    assert (module.START, module.NAME) == (1, "helpers")
    assert module.a is module.beside


def test_classes_of_a_file_are_pickled_and_dataclasses_resolve_their_hints(loader: UserModules, tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int\n"
    )
    write(tmp_path, **{"my nodes.v2": text + "from shapes import Circle\n"}, shapes=text.replace("Point", "Circle"))

    module, _ = loader.load(tmp_path / "my nodes.v2.py")

    for thing in (module.Point(1), module.Circle(2)):
        assert pickle.loads(pickle.dumps(thing)) == thing


def test_a_missing_module_is_named_as_it_was_written(loader: UserModules, tmp_path: Path) -> None:
    write(tmp_path, nodes="import shop.nothing\n")
    write(tmp_path / "shop", __init__="")

    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'shop\.nothing'$"):
        loader.load(tmp_path / "nodes.py")


def test_a_failed_load_is_tried_again_with_the_corrected_neighbour(loader: UserModules, tmp_path: Path) -> None:
    write(tmp_path, nodes="from helpers import NAME\n", helpers="")
    with pytest.raises(ImportError):
        loader.load(tmp_path / "nodes.py")
    write(tmp_path, helpers="NAME = 1\n")

    assert loader.load(tmp_path / "nodes.py")[0].NAME == 1


def test_files_of_one_folder_share_their_neighbours_until_one_changes(loader: UserModules, tmp_path: Path) -> None:
    write(tmp_path, one="import helpers\n", two="import helpers\n", helpers="NAME = 'old'\n")
    old, _ = loader.load(tmp_path / "one.py")

    assert loader.load(tmp_path / "two.py")[0].helpers is old.helpers
    assert loader.load(tmp_path / "one.py")[0] is old

    write(tmp_path, helpers="NAME = 'new!'\n")
    new, _ = loader.load(tmp_path / "one.py")

    assert (old.helpers.NAME, new.helpers.NAME) == ("old", "new!")


def test_replaced_code_still_imports_its_own_neighbours_and_is_bounded(loader: UserModules, tmp_path: Path) -> None:
    write(tmp_path, nodes="def late():\n    import helpers\n    return helpers.NAME\n", helpers="NAME = 'here'\n")
    first, _ = loader.load(tmp_path / "nodes.py")
    for number in range(3 * MAX_SUPERSEDED):
        write(tmp_path, nodes=f"NUMBER = {number}{'#' * number}\n")
        assert vars(loader.load(tmp_path / "nodes.py")[0])["NUMBER"] == number

    assert len({name.partition(".")[0] for name in sys.modules if name.startswith(PREFIX)}) <= MAX_SUPERSEDED + 1
    assert first.late() == "here"


def test_broken_edits_leave_the_code_in_use_importable(loader: UserModules, tmp_path: Path) -> None:
    code = "class Data:\n    pass\n\n\ndef late():\n    import helpers\n    return helpers.NAME\n"
    write(tmp_path, good=code, other="", helpers="NAME = 'here'\n")
    good, _ = loader.load(tmp_path / "good.py")
    for number in range(2 * MAX_SUPERSEDED):
        write(tmp_path, good=f"{code}1 / 0  {'#' * number}\n", other=f"1 / 0  {'#' * number}\n", fine="")
        if number % 2:
            loader.load(tmp_path / "fine.py")
        for name in ("good", "other"):
            with pytest.raises(ZeroDivisionError):
                loader.load(tmp_path / f"{name}.py")

    assert isinstance(pickle.loads(pickle.dumps(good.Data())), good.Data)
    assert good.late() == "here"
    assert len({name.partition(".")[0] for name in sys.modules if name.startswith(PREFIX)}) <= MAX_SUPERSEDED + 1


def test_an_unchanged_broken_file_raises_its_error_without_another_run(loader: UserModules, tmp_path: Path) -> None:
    sys.runs = []  # type: ignore[attr-defined]
    write(tmp_path, nodes="import sys\nsys.runs.append(1)\n1 / 0\n")
    frames = set()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError) as raised:
            loader.load(tmp_path / "nodes.py")
        frames.add(len(raised.traceback))
    assert (sys.runs, max(frames) - min(frames) <= 2) == ([1], True)  # type: ignore[attr-defined]
    write(tmp_path, nodes="import sys\nsys.runs.append(2)\n")
    loader.load(tmp_path / "nodes.py")
    assert sys.runs == [1, 2]  # type: ignore[attr-defined]
    del sys.runs  # type: ignore[attr-defined]


def test_a_file_is_run_again_once_a_missing_module_is_installed(
    loader: UserModules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(write(tmp_path / "installed")))
    write(tmp_path / "nodes", nodes="from installed_later import NAME\n")
    with pytest.raises(ModuleNotFoundError):
        loader.load(tmp_path / "nodes" / "nodes.py")
    assert not loader.has_changed(tmp_path / "nodes" / "nodes.py")
    write(tmp_path / "installed", installed_later="NAME = 'there'\n")

    assert loader.has_changed(tmp_path / "nodes" / "nodes.py")
    assert loader.load(tmp_path / "nodes" / "nodes.py")[0].NAME == "there"


def test_the_errors_of_broken_files_are_bounded(loader: UserModules, tmp_path: Path) -> None:
    for number in range(MAX_FAILED + 5):
        write(tmp_path, **{f"nodes{number}": "1 / 0\n"})
        with pytest.raises(ZeroDivisionError):
            loader.load(tmp_path / f"nodes{number}.py")
    assert len(loader._failed) == MAX_FAILED


def test_stamps_are_read_while_another_thread_adds_some(loader: UserModules, tmp_path: Path) -> None:
    write(tmp_path, nodes="import helpers\n", helpers="")
    _, package = loader.load(tmp_path / "nodes.py")

    def add(path: str) -> tuple[int, int, int] | None:
        package.stamps[f"{path}.another"] = None
        return (1, 1, 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user_modules, "stamp_of", add)
        assert set(loader.stamps(tmp_path / "nodes.py").values()) == {(1, 1, 1)}


def test_nothing_is_written_beside_a_file(loader: UserModules, tmp_path: Path) -> None:
    write(tmp_path, nodes="import helpers\n", helpers="")

    loader.load(tmp_path / "nodes.py")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["helpers.py", "nodes.py"]


def test_what_is_loaded_apart_shares_no_globals_and_is_forgotten(loader: UserModules, tmp_path: Path) -> None:
    write(tmp_path, tools="import helpers\n", helpers="SEEN = []\n")
    (one, first), (two, second) = (loader.load_apart(tmp_path / "tools.py") for _ in range(2))
    one.helpers.SEEN.append(1)

    assert two.helpers.SEEN == []

    for package in (first, second):
        loader.discard(package)
    assert not [name for name in sys.modules if name.startswith(PREFIX)]


def test_services_of_files_have_names_of_their_own(tmp_path: Path) -> None:
    for folder, name in (("a", "First"), ("b", "Second")):
        write(tmp_path / folder, nodes=NODE.format(name=name), helpers="MARK = '!'\n")
    write(tmp_path, text=NODE.format(name="Third"), helpers="MARK = '?'\n")
    files = [tmp_path / "a" / "nodes.py", tmp_path / "b" / "nodes.py", tmp_path / "text.py"]

    services = load_files([files[0], *files])

    assert [(service.name, [node.provider for node in service.nodes]) for service in services] == [
        ("nodes", ["first"]),
        ("nodes-2", ["second"]),
        ("text-2", ["third"]),
    ]


async def test_threads_load_one_file_once(loader: UserModules, tmp_path: Path) -> None:
    write(tmp_path, nodes="import helpers\n", helpers="")

    def load() -> ModuleType:
        return loader.load(tmp_path / "nodes.py")[0]

    assert len({id(module) for module in await asyncio.gather(*(asyncio.to_thread(load) for _ in range(8)))}) == 1


def test_a_file_without_the_suffix_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nodes.txt"
    path.write_text("")

    with pytest.raises(Exception, match=r'nodes\.txt is not a Python file: its name does not end in "\.py"'):
        load_file(path)
