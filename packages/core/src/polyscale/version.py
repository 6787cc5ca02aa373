"""The version of what runs, installed or not."""

from importlib import metadata

from polyscale import __version__


def version_of(distribution: str) -> str:
    """Return the version of an installed distribution, or that of this source where it runs from PYTHONPATH."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return f"{__version__} (from source)"
