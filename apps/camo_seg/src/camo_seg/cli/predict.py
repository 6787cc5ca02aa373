"""`camo-seg predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from camo_seg.cli.options import TtaFlip, TtaScales
from polyscale.commands import check_targets, csv_writer, note, print_json, progress
from polyscale.commands.types import (
    SORT_HELP,
    BatchSize,
    Csv,
    Device,
    ImageArguments,
    JsonLines,
    Limit,
    ModelOption,
    Precision,
    PredictionsOut,
    Recursive,
    Runtime,
    Workers,
)
from polyscale.data.naming import plural
from polyscale.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from camo_seg.outputs import Cutout
    from camo_seg.predict import Predictor
    from polyscale.commands.bodies import PredictOptions


def predict(
    inputs: ImageArguments,
    model: ModelOption = "nano",
    out: PredictionsOut = None,
    threshold: Annotated[float, typer.Option(help="Probability from which a pixel belongs to the mask.")] = 0.5,
    overlay: Annotated[bool, typer.Option(help="Write the overlay next to map and mask.")] = True,
    cutout: Annotated[bool, typer.Option("--cutout", help="Write the object alone, on transparency.")] = False,
    background: Annotated[
        str | None, typer.Option(metavar="COLOUR", help="Write the object on this colour: white, #ff8800, ...")
    ] = None,
    crop: Annotated[bool, typer.Option("--crop", help="Write the object alone and nothing beside it.")] = False,
    segmentation: Annotated[
        Literal["none", "rle", "polygons"], typer.Option(help="Put the mask into JSON and CSV as COCO does.")
    ] = "none",
    tta_flip: TtaFlip = False,
    tta_scales: TtaScales = None,
    csv: Csv = None,
    as_json: JsonLines = False,
    sort: Annotated[Literal["none", "name", "area"], typer.Option(help=f"{SORT_HELP} Of area the largest.")] = "none",
    limit: Limit = None,
    recursive: Recursive = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    runtime: Runtime = "auto",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Write each image's probability map, mask and overlay at its own size, or print JSON lines.

    Videos (mp4, mov, mkv, webm, ..., or folders of them) give videos of the mask and the overlay, and one JSON line or
    CSV row a frame.
    """
    from camo_seg.outputs import Cutout, parse_colour
    from camo_seg.predict import Prediction, Predictor, output_files
    from camo_seg.predict_video import SUFFIXES
    from camo_seg.tta import read_tta
    from polyscale.commands.bodies import (
        Outputs,
        PredictOptions,
        check_outputs,
        list_inputs,
        output_folder,
        predict_images,
    )
    from polyscale.commands.inputs import local_path

    options = PredictOptions(csv, as_json, sort, limit, batch_size, workers, recursive)
    tta = read_tta(tta_flip, tta_scales)

    def load() -> Predictor:
        return Predictor(model, device, precision, None, threshold, segmentation, runtime, tta)

    wanted = cutout or crop or background is not None
    cut = Cutout(None if background is None else parse_colour(background), crop) if wanted else None
    folder = output_folder(out, as_json=as_json, asked=wanted)
    files, refused = list_inputs(inputs, options, SUFFIXES)
    videos = [file for file in files if isinstance(file, Path) and file.suffix.lower() in SUFFIXES]
    if videos and len(videos) == len(files):
        if sort != "none":
            raise UserError(f"{videos[0]}: a video: give no --sort", exit_code=2)
        _predict_videos(load, videos, folder, options, overlay, cut)
        if refused:
            raise typer.Exit(1)
        return
    if videos:
        if any(str(video) in map(local_path, inputs) for video in videos):
            raise UserError(f"{videos[0]}: a video: give videos alone", exit_code=2)
        note(f"{plural(len(videos), 'video')} left out, first {videos[0]}: give videos alone")
        files = [file for file in files if file not in videos]

    def written(name: str) -> list[Path]:
        return [] if folder is None else output_files(folder, name, overlay, wanted)

    check_outputs(files, options, written)
    predictor = load()

    outputs: Outputs[Prediction] = Outputs(
        save=None if folder is None else lambda result: result.save(folder, overlay, cut),
        files=written,
        sort_keys={"area": lambda result: -result.area},
    )
    outcome = predict_images(predictor, files, options, outputs)
    if outcome.kept and folder is not None:
        count = f"{len(outcome.kept)} of {plural(len(files), 'image')}"
        endings = ", ".join(path.name for path in written(""))
        note(f"made {folder}: {count} ({endings})")
    if outcome.failed or refused:
        raise typer.Exit(1)


def _predict_videos(
    load: "Callable[[], Predictor]",
    videos: list[Path],
    out: Path | None,
    options: "PredictOptions",
    overlay: bool,
    cut: "Cutout | None",
) -> None:
    from contextlib import ExitStack

    from camo_seg.predict_video import check_video, output_videos, predict_video
    from polyscale.commands.bodies import note_csv

    made = {video: [] if out is None else output_videos(out, video, overlay, cut is not None) for video in videos}
    targets = [path for paths in made.values() for path in paths]
    if len(set(targets)) < len(targets):
        raise UserError(f"{videos[0]}: two videos of one name; give them one by one with --out", exit_code=2)
    check_targets([*targets, *([Path(options.csv)] if options.csv not in (None, "-") else [])], videos)
    shapes = {video: check_video(video, cut, options.limit) for video in videos}  # before the model is loaded
    predictor = load()
    rows = 0
    with ExitStack() as stack:
        write = None if options.csv is None else stack.enter_context(csv_writer(options.csv))
        for video, shape in shapes.items():
            results = predict_video(
                predictor,
                video,
                out,
                overlay=overlay,
                cutout=cut,
                batch_size=options.batch_size,
                limit=options.limit,
                shape=shape,
            )
            bar = stack.enter_context(progress(video.name, transient=True))
            for result in results:
                bar.advance()
                rows += 1
                if options.as_json:
                    print_json(result.to_dict())
                if write is not None:
                    write(result.to_dict())
            if made[video]:
                note(f"made {', '.join(str(path) for path in made[video])}")
    note_csv(options, rows, "frame")
