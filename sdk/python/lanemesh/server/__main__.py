"""`python -m lanemesh.server`: a node server, as `lanemesh node` and spread runs start it.

The command line tool replaces its process with this module, because its own modules would stay in memory.
"""

from __future__ import annotations

import sys


def _end() -> int:
    """Runs the command, and returns its exit code."""
    try:
        from lanemesh._aio.exits import end_within
        from lanemesh.server.command import main
    except KeyboardInterrupt:  # Ctrl-C while modules are still being imported
        return 130
    code = 1
    try:
        code = main()
    finally:
        end_within(code)
    return code


if __name__ == "__main__":
    sys.exit(_end())
