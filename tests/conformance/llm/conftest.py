"""What the tests of language models have at hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from lanemesh_services.shared import models


@pytest.fixture(scope="session")
def users_cache() -> Path:
    """The user's own cache, where real models are prepared once."""
    return models.cache_dir().parents[1]


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory: pytest.TempPathFactory, users_cache: Path) -> Iterator[None]:
    """Tiny models are made in a folder of this session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield
