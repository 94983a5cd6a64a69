"""The certificates that servers are verified by."""

from __future__ import annotations

import ssl
from functools import cache


@cache
def certificates() -> ssl.SSLContext:
    """Those that httpx2 comes with, or that the environment names.

    They are loaded once, which takes longer than many requests. All clients of the process share them.

    Raises:
        ImportError: httpx2 is not installed.
    """
    import httpx2

    return httpx2.create_ssl_context()
