"""`event-det data`: info and convert here, prepare and check of labelled data sets next door."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from event_det.cli.options import (
    End,
    FormatOption,
    RecordingArgument,
    SensorOption,
    Start,
    TimeOrigin,
    end_with_drops,
    microseconds,
    open_recording,
)
from event_det.cli.prepare import check, prepare
from polyscale.commands import check_targets, note, print_json, progress, table
from polyscale.commands.types import AsJson
from polyscale.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from event_det.formats import Events, Recording
    from polyscale.terminal import Bar

data = typer.Typer(no_args_is_help=True, help="Describe and convert recordings, prepare and check data sets.")
data.command()(prepare)
data.command()(check)

OutputFormat = Annotated[
    str,
    typer.Option("--to", metavar="NAME", help="Format to write [default: by the suffix; .raw is evt3, .h5 is RVT's]."),
]


@data.command()
def info(
    path: RecordingArgument,
    format: FormatOption = "auto",
    time_origin: TimeOrigin = "raw",
    sensor: SensorOption = None,
    gap: Annotated[float, typer.Option(min=0.001, help="Count pauses of at least this many milliseconds.")] = 100.0,
    as_json: AsJson = False,
) -> None:
    """Describe a recording: format, sensor, duration, counts, rates, polarity balance, gaps, and what was dropped."""
    from event_det.formats import summarise

    recording = open_recording(path, format, time_origin, sensor)
    with progress("events", transient=True) as bar:
        summary = summarise(recording, gap=round(gap * 1000), bar=bar)
    if as_json:
        print_json({"path": path, **summary})
    else:
        table(describe(summary, gap), title=str(path))
    end_with_drops(recording)


def describe(summary: dict[str, Any], gap: float) -> list[dict[str, str]]:
    """Put a summary into rows for people."""
    from event_det.formats import FORMATS

    def seconds(microseconds: int | None) -> str:
        return "-" if microseconds is None else f"{microseconds / 1e6:,.6f} s"

    sensor = summary["sensor"] or f"not stated; the events span {summary['extent']}"
    pause = f"{seconds(summary['longest_pause_us'])} from {seconds(summary['longest_pause_at_us'])}"
    rows = {
        "format": f"{summary['format']} ({FORMATS[summary['format']].about})",
        "sensor": sensor,
        "events": f"{summary['events']:,}",
        "first event": seconds(summary["first_us"]),
        "last event": seconds(summary["last_us"]),
        "duration": seconds(summary["duration_us"]),
        "mean rate": "-" if summary["rate"] is None else f"{summary['rate']:,.0f} events/s",
        "highest rate in 10 ms": f"{summary['peak_rate']:,.0f} events/s",
        "ON events": "-" if summary["on_share"] is None else f"{summary['on_share']:.1%}",
        f"pauses of {gap:g} ms or more": f"{summary['gaps']:,}",
        "longest pause": "-" if summary["longest_pause_at_us"] is None else pause,
        "dropped": f"{sum(summary['dropped'].values()):,}",
    }
    return [{"property": name, "value": value} for name, value in rows.items()]


@data.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A file of events.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; an existing one is replaced.")],
    format: FormatOption = "auto",
    to: OutputFormat = "auto",
    time_origin: TimeOrigin = "raw",
    sensor: SensorOption = None,
    start: Start = None,
    end: End = None,
    as_json: AsJson = False,
) -> None:
    """Convert a recording to another format, a block at a time."""
    from event_det.formats import write_recording
    from event_det.formats.table import FORMATS, find_format, format_of_suffix

    name = format_of_suffix(target) if to == "auto" else to
    if find_format(name).writer is None:
        raise UserError(
            f"{name} is only read; choose from {', '.join(n for n, f in FORMATS.items() if f.writer)}", exit_code=2
        )
    check_targets([target], [source])
    recording = open_recording(source, format, time_origin, sensor)
    low, high = microseconds(start), microseconds(end)
    with progress("events", transient=True) as bar:
        size = recording.sensor or _measure(recording, bar)
        count = write_recording(target, _counted(recording.chunks(low, high), bar), size, format=name)
    if as_json:
        print_json(_written(target, name, count, size))
    if not recording.sensor and not sensor:
        note(f"{source} states no sensor size; {size[0]}x{size[1]} holds all events (see --sensor)")
    note(f"{count:,} events written to {target} as {name}; look at them with: event-det view {target}")
    end_with_drops(recording)


@data.command()
def simulate(
    source: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video that PyAV reads.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The recording to write; an existing one is replaced.")],
    to: OutputFormat = "auto",
    threshold: Annotated[float, typer.Option(min=0.01, help="Change of log brightness that fires a pixel.")] = 0.2,
    mismatch: Annotated[float, typer.Option(min=0, help="Standard deviation of it over the pixels.")] = 0.03,
    refractory: Annotated[int, typer.Option(min=0, help="Microseconds that a pixel rests after an event.")] = 500,
    leak: Annotated[float, typer.Option(min=0, help="ON events per second of a still pixel.")] = 0.1,
    shot: Annotated[float, typer.Option(min=0, help="Noise events per second and pixel.")] = 0.2,
    slower: Annotated[
        float, typer.Option(min=1e-6, help="Times slower than filmed; 0.1 for a video of ten-fold slow motion.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of thresholds and noise.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Make the recording that an event camera would have taken in place of the camera of a video."""
    import itertools

    from event_det.formats import write_recording
    from event_det.formats.table import format_of_suffix
    from event_det.simulation import CameraModel, film_frames
    from event_det.video import read_video

    name = format_of_suffix(target) if to == "auto" else to
    check_targets([target], [source])
    frames = read_video(source)
    first = next(frames, None)
    if first is None:
        raise UserError(f"{source}: holds no image")
    height, width = first[1].shape
    model = CameraModel(threshold, mismatch, refractory, leak, shot)
    blocks = film_frames(itertools.chain([first], frames), model, seed, slower=slower)
    with progress("events", transient=True) as bar:
        count = write_recording(target, _counted(blocks, bar), (width, height), format=name)
    if as_json:
        print_json(_written(target, name, count, (width, height)))
    note(f"{count:,} events written to {target} as {name}; look at them with: event-det view {target}")


def _written(target: Path, format: str, events: int, sensor: tuple[int, int]) -> dict[str, Any]:
    """What --json prints of a file that was made, by the names of `data info`."""
    return {"path": target, "format": format, "sensor": f"{sensor[0]}x{sensor[1]}", "events": events}


def _measure(recording: "Recording", bar: "Bar") -> tuple[int, int]:
    """Return the smallest size that holds all events, 1x1 for none."""
    width = height = 1
    for events in recording.chunks():
        width, height = max(width, int(events.x.max()) + 1), max(height, int(events.y.max()) + 1)
        bar.advance(len(events))
    return width, height


def _counted(blocks: "Iterator[Events]", bar: "Bar") -> "Iterator[Events]":
    for events in blocks:
        yield events
        bar.advance(len(events))
