"""A detector of persons on real events: `python tools/recipes/event_evk3.py EVK3 RUNS [--seeds 3]`.

EVK3 is the folder Datasets of the repository below: 891 labelled frames of 50 ms of a Prophesee EVK3, two recordings.
The first one is for training, but for its last fifth, by which the epoch is chosen; the second one is the test set,
scored once a run. (The split of the repository is random over neighbouring frames.) Frames are made 8 times smaller,
160 x 90, which preset nano sees at a pace a CPU can follow; a person is 29 x 73 pixels then.

Trains with recurrence and without, seed by seed, one folder of RUNS each, and prints the table with the trivial
baselines: 1,800 steps of .75 s, about 25 minutes of one thread a run, and 1.2 GB. A stopped call goes on where it was;
`--table` prints what is there, and trains nothing.

    github.com/Obaid-Alkaabi9/Object-Detection-using-Neuromorphic-camera-Prophesee-EVK3-IMX636
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from event_ablations import folder, gap, spread
from numpy.typing import NDArray

from event_det import PRESETS, Config, load_model, open_split
from event_det.data.boxes import BOX_DTYPE, Standard, crop_boxes
from event_det.data.frames import FrameRecording, find_frame_recordings, read_grey, rebuild_counts
from event_det.data.open import DESCRIPTION, write_description
from event_det.data.raw import read_yolo
from event_det.data.rvt import write_sequence
from event_det.evaluation.assess import evaluate_baselines
from event_det.evaluation.baselines import fit_prior
from event_det.evaluation.evaluate import evaluate
from event_det.train import train
from polyscale.commands import keep_heap, note
from polyscale.settings import resolve

WINDOW, CUTOFF, SHRINK = 50_000, 10, 8  # microseconds, largest count, pixels of the sensor along a side of a pixel here
PARTS = 4  # of the recording that is learnt from: that many streams have to be played at a time
SETTINGS = {
    "representation.bins": "1",
    "model.levels": "3",
    "data.sampling": "mixed",
    "data.length": "10",
    "train.batch_size": "4",
    "train.epochs": "18",
    "train.steps_per_epoch": "100",
    "train.eval_every": "1",
}
VARIANTS = {"recurrent": {}, "no recurrence": {"model.recurrent": "false"}}
COLUMNS = ("AP", "AP50", "AP75")


def main() -> None:
    """Prepare, train and score what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evk3", type=Path, help="the folder Datasets of the repository")
    parser.add_argument("runs", type=Path, help="folder of the prepared set and of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings of every run")
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    keep_heap()
    data = options.runs / "data"
    if not (data / DESCRIPTION).is_file():
        prepare(options.evk3, data)
    given = {"data.path": str(data), **SETTINGS, **dict(item.split("=", 1) for item in options.set)}
    if not options.table:
        for seed, name in itertools.product(range(options.seeds), VARIANTS):
            score_one(folder(options.runs, name, seed), {**given, **VARIANTS[name], "train.seed": str(seed)})
    print(table(options.runs, options.seeds, given), end="")


def prepare(evk3: Path, out: Path) -> None:
    """Write the two recordings in RVT's layout, as small as they are seen here."""
    standard = Standard("persons before an EVK3, 160 x 90", ("person",), (1280 // SHRINK, 720 // SHRINK))
    for recording in find_frame_recordings(evk3):
        numbers = np.arange(min(recording.images), max(recording.images) + 1)
        parts = np.array_split(numbers, PARTS if recording.split == "train" else 1)
        for place, part in enumerate(parts):
            times = WINDOW * (np.arange(len(part), dtype=np.int64) + 2)
            frames = {
                int(time): read_boxes(recording.boxes[number], int(time), standard)
                for number, time in zip(part.tolist(), times, strict=True)
                if number in recording.boxes
            }
            where = out / recording.split / f"{recording.name}_{place}"
            write_sequence(where, histograms(recording, part.tolist(), standard), times, frames, sparse=True)
            note(f"{where}: {len(part)} windows, {len(frames)} labelled")
    write_description(out / DESCRIPTION, standard)


def read_boxes(path: Path, time: int, standard: Standard) -> NDArray[np.void]:
    """Read the boxes of a frame in pixels of the small frame."""
    rows = read_yolo(path, standard.classes, standard.sensor)
    rows["t"] = time
    return crop_boxes(rows.astype(BOX_DTYPE), standard.sensor)


def histograms(recording: FrameRecording, numbers: list[int], standard: Standard) -> Iterator[NDArray[np.uint8]]:
    """Yield uint8 [2, h, w] of each frame: an eighth of the counts of 8 x 8 pixels; a missing frame is empty."""
    width, height = standard.sensor
    for number in numbers:
        if number not in recording.images:
            yield np.zeros((2, height, width), np.uint8)
            continue
        counts = rebuild_counts(read_grey(recording.images[number]), CUTOFF).astype(np.float32)
        pooled = counts.reshape(2, height, SHRINK, width, SHRINK).sum((2, 4)) / SHRINK
        yield np.minimum(pooled.round(), CUTOFF).astype(np.uint8)


def score_one(out: Path, given: dict[str, str]) -> None:
    """Train one model, or go on with it, and write scores.json of the epoch that validation chose."""
    if (out / "scores.json").is_file():
        return
    config = resolve(Config, presets=PRESETS, default_preset="nano", overrides=given)
    run = train(config, out, resume=(out / "config.yaml").is_file())
    summary = evaluate(load_model(run.out), open_split(config, "test")).summary
    found = {key: summary[key] for key in COLUMNS}
    (out / "scores.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    note(f"{out.name}: {found}")


def table(runs: Path, seeds: int, given: dict[str, str]) -> str:
    """A line for each variant, mean and deviation over the seeds, and for each baseline."""
    lines = [f"| | seeds | {' | '.join(COLUMNS)} | AP against no recurrence |", "|---" * (len(COLUMNS) + 3) + "|"]
    known: dict[str, dict[int, dict[str, float]]] = {name: {} for name in VARIANTS}
    for seed, (name, found) in itertools.product(range(seeds), known.items()):
        file = folder(runs, name, seed) / "scores.json"
        if file.is_file():
            found[seed] = json.loads(file.read_text(encoding="utf-8"))
    for name, found in known.items():
        plain = known["no recurrence"]
        both = [] if found is plain else [seed for seed in found if seed in plain]
        gains: list[float | None] = [found[seed]["AP"] - plain[seed]["AP"] for seed in both]
        cells = [spread([row[key] for row in found.values()]) for key in COLUMNS]
        lines.append(f"| {name} | {len(found)} | {' | '.join(cells)} | {gap(gains)} |")
    config = resolve(Config, presets=PRESETS, default_preset="nano", overrides=given)
    scores = evaluate_baselines(open_split(config, "test"), fit_prior(open_split(config, "val")))
    for name, row in scores.items():
        lines.append(f"| {name} | | {' | '.join(spread([row.summary.get(key)]) for key in COLUMNS)} | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
