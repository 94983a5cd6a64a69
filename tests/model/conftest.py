"""The tests of the model need spin and gcc, which `make model` installs."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("LANEMESH_MODEL") else ["test_*.py"]
