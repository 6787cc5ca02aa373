"""The settings of event-det so far: how recordings are read and represented. Presets come with the detector."""

from typing import Literal

from pydantic import Field

from polyscale.settings import Preset, Settings


class DataSettings(Settings):
    """How recordings are read."""

    time_origin: Literal["raw", "first"] = "raw"
    """raw keeps the times of the file; first makes the first event's time 0."""


class RepresentationSettings(Settings):
    """What a window of events becomes: RVT's stacked histogram."""

    window_ms: float = Field(50.0, gt=0)
    """Length of a window in milliseconds."""
    bins: int = Field(10, ge=1)
    """Time bins of a window."""
    cutoff: int = Field(10, ge=1, le=255)
    """Largest count of a cell."""


class Config(Settings):
    """Settings of event-det."""

    data: DataSettings = DataSettings()
    representation: RepresentationSettings = RepresentationSettings()


PRESETS: dict[str, Preset] = {}
