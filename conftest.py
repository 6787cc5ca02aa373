"""Tests that run side by side (pytest -n) compute in one thread each, and so do the processes that they start."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
