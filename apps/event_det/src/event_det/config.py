"""The settings of event-det so far: how recordings are read and represented. Presets come with the detector."""

from typing import Literal

from pydantic import Field

from polyscale.settings import DiskPath, Preset, Settings

Dataset = Literal["auto", "gen1", "gen4", "gen4-7", "etram", "dsec"]


class DataSettings(Settings):
    """Which recordings to learn from, how they are read and varied."""

    path: DiskPath = "synthetic"
    """Folder of a data set in RVT's layout; synthetic is the embedded, generated one."""
    dataset: Dataset = "auto"
    """What the class ids and box filters are: auto tells it from event_det.json or the size of the frames."""
    train_recordings: int = Field(48, ge=1)
    """Training recordings of 4 s to generate for the synthetic set."""
    sampling: Literal["stream", "random", "mixed"] = "mixed"
    """Play recordings in order, take sequences from anywhere, or half of each as RVT does."""
    augment: bool = True
    """Flip and zoom training sequences with RVT's chances."""

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
