"""`event-det data prepare` and `event-det data check`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from polyscale.commands import check_folder, note, print_json, progress, table
from polyscale.commands.types import AsJson, DataArgument
from polyscale.data.naming import plural
from polyscale.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from event_det.data.prepare import Outcome

DatasetName = Literal["gen1", "gen4", "gen4-7", "etram", "dsec"]
GRIDS: dict[str, int | str | None] = {"gen1": 250_000, "gen4": "median", "gen4-7": "median"}


def prepare(
    raw: Annotated[Path, typer.Argument(metavar="RAW", help="Folder of recordings and their boxes.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; what is finished in it is kept.")],
    dataset: Annotated[
        DatasetName | None, typer.Option(help="Known data set, with its classes, sensor and box filters.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Classes of your own data set, in the order of their ids: a,b,c."),
    ] = None,
    window: Annotated[int, typer.Option(min=1, help="Milliseconds of a window.")] = 50,
    bins: Annotated[int, typer.Option(min=1, help="Time bins of a window.")] = 10,
    cutoff: Annotated[int, typer.Option(min=1, max=255, help="Largest count of a cell.")] = 10,
    compression: Annotated[
        Literal["lzf", "gzip", "blosc"],
        typer.Option(help="Of the histograms; blosc is RVT's and needs hdf5plugin to be read."),
    ] = "lzf",
    storage: Annotated[
        Literal["dense", "sparse"],
        typer.Option(help="dense is what RVT reads; sparse holds the cells that are not zero, which load faster."),
    ] = "dense",
    half: Annotated[
        bool, typer.Option("--half", help="Your own data at half the size, as RVT does with 1 Mpx.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Recordings at a time.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Bring recordings and their boxes into RVT's layout; run again, it goes on where it stopped.

    RAW holds folders train, val and test with NAME_td.dat, NAME_td.h5, NAME.raw or any other format, and next to each
    NAME_bbox.npy (Prophesee's), NAME_bbox.csv (t,x,y,w,h,class; a row with t alone is a frame without a box), NAME.xml
    (Pascal VOC) or NAME.txt (YOLO). PEDRo's and DSEC's own folders are read too, and folders images and labels with an
    image of ON minus OFF for each window and YOLO boxes (then with one bin).
    """
    if (dataset is None) == (classes is None):
        raise UserError("give either --dataset or --classes", exit_code=2)
    from event_det.data.boxes import STANDARDS, Standard
    from event_det.data.frames import find_frame_recordings, has_frames, prepare_frames
    from event_det.data.open import DESCRIPTION, write_description
    from event_det.data.prepare import Preparation, compression_options, prepare_all
    from event_det.data.raw import find_recordings

    names = tuple(name.strip() for name in (classes or "").split(",") if name.strip())
    if dataset is None and not names:
        raise UserError("--classes: names at least one class", exit_code=2)
    if len(set(names)) < len(names):
        raise UserError(f"--classes: {max(names, key=names.count)} is named twice", exit_code=2)
    check_folder(out)
    standard = STANDARDS[dataset] if dataset else Standard(raw.resolve().name, names, (0, 0), half)
    compression_options(compression)
    how = Preparation(standard, GRIDS.get(dataset or ""), window * 1000, bins, cutoff, compression, storage == "sparse")
    work: Iterator[Outcome]
    if dataset is None and has_frames(raw):
        images = find_frame_recordings(raw)
        total, work = len(images), (prepare_frames(each, out, how) for each in images)
    else:
        recordings = [each for each in find_recordings(raw) if each.name not in standard.ignored]
        total, work = len(recordings), prepare_all(recordings, out, how, jobs)
    out.mkdir(parents=True, exist_ok=True)
    write_description(out / DESCRIPTION, standard)
    outcomes = []
    with progress("preparing", total=total) as bar:
        for outcome in work:
            outcomes.append(outcome)
            bar.advance()
            for text in (outcome.error, outcome.warning and f"{outcome.name}: {outcome.warning}"):
                if text:
                    note(f"error: {text}" if text == outcome.error else text)
    written = [outcome for outcome in outcomes if outcome.steps]
    skipped = [f"{outcome.name} {outcome.skipped}" for outcome in outcomes if outcome.skipped]
    if as_json:
        print_json({"out": out, "recordings": [vars(outcome) for outcome in outcomes]})
    for text in skipped[:5]:
        note(f"passed over: {text}")
    if len(skipped) > 5:
        note(f"passed over: {len(skipped) - 5} more")
    steps, boxes = sum(outcome.steps for outcome in written), sum(outcome.boxes for outcome in written)
    note(f"made {out}: {plural(len(written), 'recording')}, {steps:,} windows, {boxes:,} boxes")
    if written or skipped:
        note(f"next: event-det data check {out}")
    if any(outcome.error or outcome.warning for outcome in outcomes):
        raise typer.Exit(1)


def check(
    path: DataArgument = "synthetic",
    dataset: Annotated[
        DatasetName | None, typer.Option(help="What it is, where neither its description nor its size tells.")
    ] = None,
    bins: Annotated[int | None, typer.Option(min=1, help="Time bins of a window [default: as prepared].")] = None,
    window: Annotated[int | None, typer.Option(min=1, help="Milliseconds of a window [default: as prepared].")] = None,
    draw: Annotated[
        Path | None, typer.Option("--draw", metavar="FOLDER", help="Write images of the events with the boxes there.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Images for each split.")] = 12,
    as_json: AsJson = False,
) -> None:
    """Count what a training would see of a data set, and draw the boxes as the loader gives them."""
    from event_det.config import Config
    from event_det.data.check import draw_samples, summarise_split
    from event_det.data.open import SPLITS, SYNTHETIC, open_split
    from event_det.data.rvt import prepared_windows
    from polyscale.data.listing import resolve_folder, subfolder

    root = None if path == SYNTHETIC else resolve_folder(path, f" (the embedded data set is called {SYNTHETIC})")
    present = [split for split in SPLITS if root is None or subfolder(root, split)]
    if not present:
        raise UserError(f"{path}: holds none of the folders train, val and test")
    known = None if root is None else prepared_windows(root / present[0])
    settings = {
        "data": {"path": path, "dataset": dataset or "auto"},
        "representation": {"window_ms": window or (known or (50, 10))[0], "bins": bins or (known or (50, 10))[1]},
    }
    config = Config.model_validate(settings)
    rows = {}
    for split in present:
        opened = open_split(config, split)
        with progress(f"reading {split}", total=len(opened.labelled()), transient=True) as bar:
            rows[split] = summarise_split(opened, bar)
        if draw is not None:
            drawn = draw_samples(opened, draw / split, images)
            note(f"made {draw / split}: {plural(drawn, 'image')}")
    if as_json:
        print_json({"path": path, "splits": rows})
    else:
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        table([{"": name, **{split: row.get(name) for split, row in rows.items()}} for name in names], title=path)
    if wrong := {split: row["unknown"] for split, row in rows.items() if row["unknown"]}:
        note(f"{path}: boxes of unknown classes: {wrong}; see --dataset and event_det.json")
        raise typer.Exit(1)
