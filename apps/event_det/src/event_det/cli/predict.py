"""`event-det predict`."""

import contextlib
import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from polyscale.commands.types import Device, JsonLines, Limit, Precision, TorchModelOption
from polyscale.data.naming import plural
from polyscale.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from event_det.formats.recording import Recording
    from event_det.predict import Detected, Predictor
    from polyscale.terminal import Bar

KINDS = (".csv", ".npy", ".json", ".gif", ".mp4")


def predict(
    path: RecordingArgument,
    model: TorchModelOption = "nano",
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write, may be repeated: boxes as .csv, .npy (Prophesee's rows) or .json (COCO's), "
            "a video as .gif or .mp4 [default: RECORDING_boxes.csv and .gif here].",
        ),
    ] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Lowest score of the boxes.")] = 0.3,
    start: Start = None,
    end: End = None,
    window: Annotated[float, typer.Option(min=0.001, help="Milliseconds of a window: that of the training.")] = 50.0,
    frames: Annotated[int, typer.Option(min=1, help="The most frames of a GIF.")] = 250,
    as_json: JsonLines = False,
    limit: Limit = None,
    time_origin: TimeOrigin = "raw",
    format: FormatOption = "auto",
    sensor: SensorOption = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    batch_size: Annotated[int, typer.Option(min=1, help="Windows per forward pass; results do not depend on it.")] = 8,
) -> None:
    """Find objects in a recording: boxes at the end of every window of 50 ms, and a video with the boxes drawn."""
    default = [] if as_json else [Path(f"{path.stem}_boxes.csv"), Path(f"{path.stem}_boxes.gif")]
    targets = default if out is None else out
    for target in targets:
        if target.suffix.lower() not in KINDS:
            raise UserError(f"{target}: the file to write should end in {', '.join(KINDS)}", exit_code=2)
    if sum(target.suffix.lower() == ".gif" for target in targets) > 1:
        raise UserError("--out: one GIF at a time", exit_code=2)
    check_targets(targets, [path])
    recording = open_recording(path, format, time_origin, sensor)
    if recording.sensor is None:
        raise UserError(f"{path}: states no sensor size; give it with --sensor WxH", exit_code=2)

    part = part_of(recording, start, end)

    from event_det.model import EventDetector
    from event_det.predict import Predictor
    from event_det.video import require_av

    for target in targets:
        if target.suffix.lower() == ".mp4":
            require_av(target)

    predictor = Predictor(
        model, device, precision, threshold=threshold, window=round(window * 1000), batch_size=batch_size
    )
    if model in EventDetector.shipped_names() and (unfit := EventDetector.about(model).get("not_for")):
        note(f"{model} is not for {unfit}")
    began, totals = time.perf_counter(), Totals()
    with contextlib.ExitStack() as stack, progress("windows", transient=True) as bar:
        found = itertools.islice(predictor.stream(recording, *part), limit)
        results = totals.count(_some(found, recording, part), bar)
        results = _print(results, predictor.classes) if as_json else results
        for target in targets:
            if target.suffix.lower() != ".gif":
                results = _write(results, target, predictor, recording.sensor, stack)
        gif = next((target for target in targets if target.suffix.lower() == ".gif"), None)
        _finish(results, gif, predictor, recording.sensor, frames)
    seconds, span = time.perf_counter() - began, totals.windows * predictor.window / 1e6
    if targets:
        made = f"{plural(totals.windows, 'window')}, {totals.boxes:,} boxes"
        note(f"made {', '.join(map(str, targets))}: {made}")
    if gif is not None and totals.windows > frames:
        note(f"the GIF stops after {frames} of {totals.windows:,} windows; --frames shows more")
    note(f"{span:,.2f} s of events in {seconds:,.2f} s: {span / seconds:.2f} times real time")
    end_with_drops(recording)


@dataclass
class Totals:
    """What went by."""

    windows: int = 0
    boxes: int = 0

    def count(self, results: "Iterator[Detected]", bar: "Bar") -> "Iterator[Detected]":
        """Pass results on and count them."""
        for found in results:
            self.windows += 1
            self.boxes += len(found.boxes)
            yield found
            bar.advance()


def _some(
    results: "Iterator[Detected]", recording: "Recording", part: tuple[int | None, int | None]
) -> "Iterator[Detected]":
    """Pass results on; that there is none is an error before any file is closed."""
    first = next(results, None)
    if first is None:
        raise recording.without_events(*part)
    yield first
    yield from results


def _print(results: "Iterator[Detected]", classes: tuple[str, ...]) -> "Iterator[Detected]":
    for found in results:
        print_json(found.to_dict(classes))
        yield found


def _write(
    results: "Iterator[Detected]",
    target: Path,
    predictor: "Predictor",
    sensor: tuple[int, int],
    stack: contextlib.ExitStack,
) -> "Iterator[Detected]":
    """Open a file of boxes or an MP4, and pass results on that are written to it on their way."""
    from event_det.detections import detection_writer, draw_detected
    from event_det.video import mp4_writer

    if target.suffix.lower() == ".mp4":
        show = stack.enter_context(mp4_writer(target, predictor.window / 1000))
        return _each(results, lambda found: show(draw_detected(found, sensor, predictor.classes)))
    return _each(results, stack.enter_context(detection_writer(target, predictor.classes, sensor)))


def _each(results: "Iterator[Detected]", action: "Callable[[Detected], None]") -> "Iterator[Detected]":
    for found in results:
        action(found)
        yield found


def _finish(
    results: "Iterator[Detected]", gif: Path | None, predictor: "Predictor", sensor: tuple[int, int], frames: int
) -> None:
    """Take all results; those of the first `frames` windows make the GIF."""
    from PIL import Image

    from event_det.detections import draw_detected
    from event_det.video import write_gif

    def images() -> "Iterator[Image.Image]":
        for number, found in enumerate(results):
            if gif is not None and number < frames:
                yield Image.fromarray(draw_detected(found, sensor, predictor.classes))

    if gif is None:
        for _ in images():
            pass
    else:
        write_gif(gif, images(), predictor.window / 1000)
