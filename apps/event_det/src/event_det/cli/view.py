"""`event-det view`."""

from pathlib import Path
from typing import Annotated

import typer

from event_det.cli.options import (
    End,
    FormatOption,
    RecordingArgument,
    SensorOption,
    Start,
    TimeOrigin,
    end_with_drops,
    open_recording,
    part_of,
)
from polyscale.commands import check_targets, note, print_json, progress
from polyscale.commands.types import AsJson
from polyscale.data.naming import plural
from polyscale.errors import UserError

FRAMES = {".gif": 250, ".mp4": 1_000_000, ".png": 6}
GIF_PARTS = 25


def view(
    path: RecordingArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="File to write: .gif and .mp4 move, .png is a strip [default: RECORDING.gif here]."
        ),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(min=0.001, help="Milliseconds of events in a frame [default: 40, less for recordings under 1 s]."),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="The most frames [default: 250 of a GIF, 6 of a strip].")
    ] = None,
    start: Start = None,
    end: End = None,
    time_origin: TimeOrigin = "raw",
    format: FormatOption = "auto",
    sensor: SensorOption = None,
    as_json: AsJson = False,
) -> None:
    """Draw a recording as an animated GIF, an MP4, or a strip of images in a PNG; no model is needed."""
    target = out or Path(f"{path.stem}.gif")
    kind = target.suffix.lower()
    if kind not in FRAMES:
        raise UserError(f"{target}: the file to write should end in .gif, .mp4 or .png", exit_code=2)
    check_targets([target], [path])
    recording = open_recording(path, format, time_origin, sensor)

    from event_det.view import plan_windows, write_strip, write_video

    most = frames or FRAMES[kind]
    with progress("events", transient=True) as bar:
        parts = most if kind == ".png" else GIF_PARTS
        length = None if window is None else max(round(window * 1000), 1)
        low, high = part_of(recording, start, end)
        plan = plan_windows(recording, window=length, parts=parts, start=low, end=high, bar=bar)
        dropped = recording.dropped
        bar.restart("frames", min(most, plan.windows))
        write = write_strip if kind == ".png" else write_video
        count = write(target, recording, plan, frames=most, bar=bar)
    if as_json:
        print_json({"out": target, "images": count, "window_us": plan.window, "windows": plan.windows})
    note(f"{target}: {describe(kind, count, plan.window)}")
    if kind != ".png" and count < plan.windows:
        note(f"stopped after {count} of {plan.windows:,} frames; --frames, --start and --window show more")
    recording.dropped = dropped
    end_with_drops(recording)


def describe(kind: str, count: int, window: int) -> str:
    """State what was drawn, and how much slower or faster than it happened."""
    if kind == ".png":
        return f"{plural(count, 'image')} of {window / 1000:g} ms each, evenly spaced"
    speed = 40_000 / window
    pace = (
        "at real speed" if speed == 1 else f"{speed:.3g} times slower" if speed > 1 else f"{1 / speed:.3g} times faster"
    )
    return f"{plural(count, 'frame')} of {window / 1000:g} ms each, shown {pace}"
