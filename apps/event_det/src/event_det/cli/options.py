"""Options that the commands of event-det share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from polyscale.commands import note

if TYPE_CHECKING:
    from event_det.formats import Recording

RecordingArgument = Annotated[Path, typer.Argument(metavar="RECORDING", help="A file of events.")]
FORMATS_HELP = "dat, evt2, evt21, evt21-legacy, evt3, npy, npz, csv, h5, h5-dsec, h5-metavision, bin, aedat4"
FormatOption = Annotated[
    str,
    typer.Option("--format", metavar="NAME", help=f"Format of RECORDING: auto detects it, or one of {FORMATS_HELP}."),
]
TimeOrigin = Annotated[
    Literal["raw", "first"], typer.Option(help="raw keeps the times of the file; first makes the first event's time 0.")
]
SensorOption = Annotated[
    str | None,
    typer.Option("--sensor", metavar="WxH", help="Size of the sensor, such as 640x480 [default: as in the file]."),
]
Start = Annotated[float | None, typer.Option(help="Leave out what is earlier than this many seconds.")]
End = Annotated[float | None, typer.Option(help="Leave out what is not earlier than this many seconds.")]


def open_recording(path: Path, format: str, time_origin: Literal["raw", "first"], sensor: str | None) -> "Recording":
    """Open a recording with the options of a command."""
    from event_det.formats import Recording
    from event_det.formats.events import parse_sensor

    size = parse_sensor(sensor) if sensor else None
    return Recording(path, format=format, time_origin=time_origin, sensor=size)


def microseconds(seconds: float | None) -> int | None:
    """Convert an option in seconds; None stays None.

    Raises:
        UserError: the number is not finite or over 9 billion seconds.
    """
    from polyscale.errors import UserError

    if seconds is None:
        return None
    if not abs(seconds) < 9e9:
        raise UserError(f"{seconds} is not a time in seconds", exit_code=2)
    return round(seconds * 1e6)


def part_of(recording: "Recording", start: float | None, end: float | None) -> tuple[int | None, int | None]:
    """Return --start and --end in microseconds; a start before the first event is none, or empty windows would lead up.

    Raises:
        UserError: see `microseconds`.
    """
    low, high = microseconds(start), microseconds(end)
    first = recording.first if low is not None else None
    return None if first is not None and low is not None and low <= first - recording.offset else low, high


def end_with_drops(recording: "Recording") -> None:
    """Say on stderr what the recording's latest pass dropped, and end with exit code 1; return if that is nothing."""
    if line := str(recording.dropped):
        note(f"{recording.path}: {line}")
        raise typer.Exit(1)
