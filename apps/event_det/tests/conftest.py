"""Leaves these tests out where what they need has no wheels yet (h5py and numba on Python 3.15), and says so."""

from importlib.util import find_spec

MISSING = [name for name in ("h5py", "numba") if find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_report_header() -> list[str]:
    """Name what is missing."""
    return [f"event-det: not tested without {', '.join(MISSING)}"] if MISSING else []
