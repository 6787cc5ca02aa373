"""Tests that run side by side (pytest -n) compute in one thread each, and so do the processes that they start."""

import os
import sys

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported


def pytest_collection_finish() -> None:
    """Do one backward pass before the tests: tests fork, and a first pass after an export starts autograd's threads.

    A process that was forked beside such threads cannot do a backward pass.
    """
    if torch := sys.modules.get("torch"):
        torch.ones((), requires_grad=True).backward()
