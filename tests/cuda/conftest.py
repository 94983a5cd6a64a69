"""Tests of real GPUs, which `make test-gpu` runs."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("LANEMESH_TEST_GPU") else ["test_*.py"]
"""They need an NVIDIA device, its driver, and PyTorch with CUDA; without those they are skipped, with the reason."""
