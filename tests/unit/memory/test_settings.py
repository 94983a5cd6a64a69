"""The settings of memories: which files and databases they may name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lanemesh import LanemeshError
from lanemesh.server.file_roots import FileRoots
from lanemesh_services.memory.internal import MemoryInternal
from lanemesh_services.memory.store import MemoryStore
from pydantic import ValidationError


def test_happy_a_store_has_a_file_or_a_url() -> None:
    assert MemoryStore.Config.model_validate({"file": "m.sqlite"}).file == "m.sqlite"
    config: Any = MemoryStore.Config.model_validate({"url": "postgresql://u:s3cret@h/d"})

    assert "s3cret" not in repr(config)


@pytest.mark.parametrize("given", [{}, {"file": "m", "url": "postgresql://h/d"}, {"file": "m", "max_entries": 0}])
def test_error_a_store_with_no_database_or_two(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MemoryStore.Config.model_validate(given)


def test_error_a_file_outside_of_the_file_roots(tmp_path: Path) -> None:
    roots = FileRoots.of([tmp_path])
    schema = MemoryStore.Config.model_json_schema()
    roots.check({"file": str(tmp_path / "m.sqlite")}, schema, "memory_1")

    for file in ("/etc/m.sqlite", str(tmp_path / ".." / "m.sqlite"), "a\0b"):
        with pytest.raises(LanemeshError, match="file") as caught:
            roots.check({"file": file}, schema, "memory_1")
        assert caught.value.fault.reason == "file-outside-roots"


@pytest.mark.parametrize(
    "given", [{"ttl": 0}, {"ttl": 1e12}, {"max_bytes": 10**12}, {"name": "n" * 129}, {"file": "m"}]
)
def test_error_limits_of_a_memory_within_a_process(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MemoryInternal.Config.model_validate(given)
