"""Raw recordings to RVT's layout: which frames and windows, equality with RVT's rule, resuming, boxes in every form."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from event_recordings import DATA, SENSOR, make_events, write
from PIL import Image

from event_det import Events, Recording, stacked_histogram
from event_det.config import Config
from event_det.data import BOX_DTYPE, Sequence, open_split
from event_det.data.boxes import STANDARDS, Standard, check_boxes
from event_det.data.prepare import Preparation, choose_frames, cut_windows, prepare_all, window_ends
from event_det.data.raw import find_recordings, read_boxes
from event_det.representations.histogram import reference_histogram
from polyscale.errors import UserError
from polyscale.testing.command import call, one_line

OWN = Preparation(Standard("own", ("person", "dog"), (0, 0)))


def boxes(*given: tuple[float, ...]) -> np.ndarray:
    """Make rows from t, x, y, w, h, class."""
    made = np.zeros(len(given), BOX_DTYPE)
    for name, values in zip(("t", "x", "y", "w", "h", "class_id"), zip(*given, strict=True), strict=True):
        made[name] = values
    return made


def rvt_ends(frames: list[int], counts: list[int], window: int = 50_000) -> list[int]:
    """Return the ends of windows as RVT's preprocessing script computes them, from its description."""
    ends = list(range(frames[0], 0, -window))[::-1][1:-1]
    for (a, b), count in zip(itertools.pairwise(frames), counts, strict=True):
        ends += np.linspace(a, b, count + 1).astype("int64")[:-1].tolist()
    return [*ends, frames[-1]]


def test_windows_of_1_mpx_are_rvts() -> None:
    times = 99_500 + np.cumsum(np.full(60, 16_667))  # 60 Hz
    times[7] += 900
    frames = choose_frames(times, "median", 50_000, earliest=100_000)
    assert frames.tolist() == [int(times[i]) for i in range(0, 60, 6)]
    assert window_ends(frames, 50_000).tolist() == rvt_ends(frames.tolist(), [2] * 9)
    with pytest.raises(UserError, match="the boxes come at 20 Hz"):
        choose_frames(np.arange(10) * 50_000, "median", 50_000, earliest=0)


def test_frames_of_gen1_lie_on_a_grid_with_jitter() -> None:
    times = np.array([50_000, 150_000, 399_000, 500_000, 651_500, 1_151_000])
    frames = choose_frames(times, 250_000, 50_000, earliest=100_000)
    assert frames.tolist() == [150_000, 399_000, 1_151_000]  # 651,500 is 2.5 ms off the grid of 399,000
    ends = window_ends(frames, 50_000)
    assert ends[:2].tolist() == [100_000, 150_000]
    assert np.diff(ends[1:7]).tolist() == [49_800] * 5
    assert set(frames) <= set(ends)


def test_frames_of_own_data_are_half_a_window_apart() -> None:
    frames = choose_frames(np.array([10_000, 20_000, 36_000, 200_000]), None, 50_000, earliest=None)
    assert frames.tolist() == [10_000, 36_000, 200_000]
    assert window_ends(np.array([120_000, 300_000]), 50_000, first=15_000).tolist() == [
        20_000, 70_000, 120_000, 165_000, 210_000, 255_000, 300_000
    ]  # fmt: skip
    assert window_ends(np.array([10_000]), 50_000, first=0).tolist() == [10_000]


@pytest.mark.parametrize("part", [7, 1000, 100_000])
def test_windows_hold_both_of_their_ends(part: int) -> None:
    events = make_events(4000, step=100)
    ends = np.array([10_000, 60_000, 109_000, 300_000, 350_000])
    chunks = (events[a : a + part] for a in range(0, len(events), part))
    for end, window in zip(ends, cut_windows(chunks, ends, 50_000), strict=True):
        assert np.array_equal(window.t, events.t[(events.t >= end - 50_000) & (events.t <= end)])


def raw_set(root: Path) -> Events:
    """Write a data set of two recordings with a third that is broken."""
    events = make_events(20_000, step=120)
    for split, name, form in (("train", "a", "evt3"), ("val", "b", "dat")):
        (root / split).mkdir(parents=True)
        suffix = "_td.dat" if form == "dat" else ".raw"
        write(root / split / f"{name}{suffix}", events, form)
    np.save(root / "train/a_bbox.npy", boxes((300_000, 10, 10, 30, 40, 1), (120_000, 5, 6, 20, 20, 0)))
    (root / "val/b_bbox.csv").write_text("t,x,y,w,h,class\n200000,190,1,20,20,dog\n260000,,,,,\n")
    return events


def test_prepare_and_open(tmp_path: Path) -> None:
    events = raw_set(tmp_path / "raw")
    done = call("event-det", "data", "prepare", tmp_path / "raw", tmp_path / "out", "--classes", "person,dog", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["boxes"] for row in json.loads(done.stdout)["recordings"]] == [2, 1]
    train, val = (
        open_split(Config.model_validate({"data": {"path": str(tmp_path / "out")}}), s) for s in ("train", "val")
    )
    assert train.classes == ("person", "dog")
    assert train.size == SENSOR[::-1]
    sequence = train.sequences[0]
    for step, end in enumerate(sequence.times):
        window = events.between(int(end) - 50_000, int(end) + 1)
        assert np.array_equal(sequence.frames(step, step + 1)[0], reference_histogram(window, *SENSOR[::-1]))
    found = train.labels(sorted(sequence.frame_of_step)[0])
    assert found is not None
    assert found.boxes.tolist() == [[5, 6, 25, 26]]
    labelled = [val.labels(index) for index in val.labelled()]
    assert [labels.boxes.tolist() for labels in labelled if labels] == [[[190, 1, 199, 21]], []]
    before = sequence.path.stat().st_mtime_ns
    sequence.path.with_name("x.h5")
    again = call("event-det", "data", "prepare", tmp_path / "raw", tmp_path / "out", "--classes", "person,dog")
    assert "passed over: train/a is there already" in again.stderr
    assert sequence.path.stat().st_mtime_ns == before
    checked = call("event-det", "data", "check", tmp_path / "out", "--json", "--draw", tmp_path / "drawn")
    assert checked.returncode == 0, checked.stderr
    splits = json.loads(checked.stdout)["splits"]
    assert (splits["train"]["person"], splits["train"]["dog"], splits["val"]["empty"]) == (1, 1, 1)
    assert len(list((tmp_path / "drawn/val").iterdir())) == 2


def test_a_bad_recording_does_not_end_it(tmp_path: Path) -> None:
    raw_set(tmp_path / "raw")
    (tmp_path / "raw/train/a.raw").write_bytes(b"% evt 3.0\n% end\n")
    outcomes = list(prepare_all(find_recordings(tmp_path / "raw"), tmp_path / "out", OWN, 1))
    assert ["no event data follows" in outcome.error for outcome in outcomes] == [True, False]
    assert outcomes[1].boxes == 1


def test_frames_outside_of_the_recording_are_left_out(tmp_path: Path) -> None:
    raw_set(tmp_path / "raw")
    known, path = (300_000, 10, 10, 30, 40, 1), tmp_path / "raw/train/a_bbox.npy"
    np.save(path, boxes(known, (3_600_000_000, 10, 10, 30, 40, 1)))
    outcome = next(prepare_all(find_recordings(tmp_path / "raw"), tmp_path / "out", OWN, 1))
    assert (outcome.boxes, outcome.error) == (1, "")
    assert outcome.steps < 100
    assert "a_bbox.npy: 1 frame without events left out, outside of the recording" in outcome.warning
    np.save(path, boxes((3_600_000_000, 10, 10, 30, 40, 1)))
    outcome = next(prepare_all(find_recordings(tmp_path / "raw"), tmp_path / "other", OWN, 1))
    assert "a_bbox.npy: its frames are of 3600 to 3600 s, the events of 0" in outcome.error


def test_ids_without_a_name_are_refused(tmp_path: Path) -> None:
    raw_set(tmp_path / "raw")
    np.save(tmp_path / "raw/train/a_bbox.npy", boxes((300_000, 10, 10, 30, 40, 1), (120_000, 5, 6, 20, 20, 9)))
    outcome = next(prepare_all(find_recordings(tmp_path / "raw"), tmp_path / "out", OWN, 1))
    assert "a_bbox.npy: 1 box of no known class, the first is 9" in outcome.error


def test_sparse_storage_is_asked_for(tmp_path: Path) -> None:
    raw_set(tmp_path / "raw")
    words = ["--classes", "person,dog", "--storage"]
    for storage in ("dense", "sparse"):
        done = call("event-det", "data", "prepare", tmp_path / "raw", tmp_path / storage, *words, storage)
        assert done.returncode == 0, done.stderr
    sequences = [Sequence(tmp_path / storage / "train/a") for storage in ("dense", "sparse")]
    assert [sequence.sparse for sequence in sequences] == [False, True]
    assert np.array_equal(*(sequence.frames(0, len(sequence)) for sequence in sequences))


def test_recordings_in_several_processes(tmp_path: Path) -> None:
    raw_set(tmp_path / "raw")
    outcomes = list(prepare_all(find_recordings(tmp_path / "raw"), tmp_path / "out", OWN, 2))
    assert [outcome.boxes for outcome in outcomes] == [2, 1]


def test_gen1_is_filtered_and_other_sensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "raw/test").mkdir(parents=True)
    sensor = STANDARDS["gen1"].sensor
    events = make_events(20_000, step=60, sensor=sensor)
    events.t[:] += 20_000
    from event_det import write_recording

    write_recording(tmp_path / "raw/test/x_td.dat", [events], sensor)
    np.save(tmp_path / "raw/test/x_bbox.npy", boxes((150_000, 10, 10, 40, 40, 0), (150_000, 10, 10, 9, 90, 1)))
    how = Preparation(STANDARDS["gen1"], 250_000)
    (outcome,) = prepare_all(find_recordings(tmp_path / "raw"), tmp_path / "out", how, 1)
    assert (outcome.error, outcome.boxes, outcome.steps) == ("", 1, 2)
    assert Sequence(tmp_path / "out/test/x").times.tolist() == [100_000, 150_000]
    (refused,) = prepare_all(find_recordings(tmp_path / "raw"), tmp_path / "b", Preparation(STANDARDS["gen4"]), 1)
    assert "the sensor is 304x240" in refused.error


@pytest.mark.parametrize("size", [(180, 200), (181, 201)])
def test_half_size_takes_every_other_pixel(size: tuple[int, int]) -> None:
    events = make_events(5000, sensor=(size[1], size[0]))
    full = stacked_histogram(events, *size, wrap=True)
    half = stacked_histogram(events, *size, wrap=True, half=True)
    assert np.array_equal(half, full[:, 1::2, 1::2])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a_bbox.csv", "t,x,y\n", "should name the columns"),
        (
            "a_bbox.csv",
            "t,x,y,w,h,class\n1,2,3,4,5,cat\n",
            "row 2: 'cat' is no class; known are person, dog and 0 to 1",
        ),
        ("a_bbox.csv", "t,x,y,w,h,class\n1,2,3,wide,5,dog\n", "row 2: t, x, y, w, h and track_id should be numbers"),
        ("a_bbox.csv", "t,x,y,w,h,class\n1,2,3,4,5\n", "row 2: '' is no class"),
        ("a_bbox.csv", "t,x,y,w,h,class\ninf,2,3,4,5,dog\n", "row 2: t, x, y, w, h and track_id should be numbers"),
        ("a_bbox.csv", "t,x,y,w,h,class\n1e300,2,3,4,5,dog\n", "cannot be read as boxes"),
        ("a_bbox.csv", "t,x,y,w,h,class,track_id\n1,2,3,4,5,dog,a\n", "row 2: t, x, y, w, h and track_id should be"),
        ("a.xml", "<annotation><object><name>dog</name></object></annotation>", "cannot be read as Pascal VOC"),
        ("a.xml", "<!DOCTYPE x><annotation/>", "declares entities"),
        ("a.txt", "0 0.5\n", "line 1: expected class, x, y, w, h"),
        ("a.txt", "7 0.5 0.5 0.1 0.1\n", "no class"),
    ],
)
def test_bad_boxes_are_one_line(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = write(tmp_path / "a.raw", make_events(100), "evt3")
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words) as error:
        read_boxes(tmp_path / name, ("person", "dog"), Recording(path))
    assert str(tmp_path / name) in str(error.value)


def test_boxes_without_area_and_corners_are_refused(tmp_path: Path) -> None:
    good = [(t, 10, 10, 30, 20, 0) for t in range(200)]
    assert check_boxes(boxes(*good), SENSOR, Path("a")) == 0
    assert check_boxes(boxes(*good, (1, 10, 10, 0, 20, 0)), SENSOR, Path("a")) == 1
    assert check_boxes(boxes((0, 150, 150, 60, 60, 0), (0, 10, 10, 190, 170, 0)), SENSOR, Path("a")) == 0
    for wrong, words in (
        ([(0, 10, 10, -5, 20, 0), *good[:9]], "1 of 10 boxes have no area on the sensor of 200x180"),
        ([(0, 300, 10, 5, 20, 0)], "1 of 1 boxes have no area"),
        ([(0, 150, 120, 190, 170, 0)] * 3, "look like corners x1, y1, x2, y2; x, y, w, h are needed"),
    ):
        with pytest.raises(UserError, match=words):
            check_boxes(boxes(*wrong), SENSOR, Path("a"))


def test_commands_refuse_in_one_line(tmp_path: Path) -> None:
    words = ("event-det", "data", "prepare", tmp_path)
    one_line(call(*words, tmp_path / "o", "--classes", "a,b,a"), 2, "--classes: a is named twice")
    (tmp_path / "file").write_text("x")
    one_line(call(*words, tmp_path / "file", "--classes", "a"), 2, "is a file, not a folder")
    one_line(call("event-det", "data", "prepare", tmp_path, tmp_path / "o"), 2, "give either --dataset or --classes")
    (tmp_path / "notes.md").write_text("x")
    done = call("event-det", "data", "prepare", tmp_path, tmp_path / "o", "--dataset", "gen1")
    one_line(done, 1, "found no recording with boxes next to it")
    one_line(call("event-det", "data", "check", tmp_path), 1, "holds none of the folders train, val and test")


def test_images_of_on_minus_off_become_recordings(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name, numbers in (("D1_frame", range(3, 13)), ("D2_frame", (1, 2, 4))):
        for number in numbers:
            split = ("train", "valid", "test")[number % 3]
            for kind in ("images", "labels"):
                (raw / kind / split).mkdir(parents=True, exist_ok=True)
            grey = np.full((40, 60), 120, np.uint8)
            grey[10:20, 5:9], grey[10:20, 9:12], grey[0, :5] = 200, 60, 122
            Image.fromarray(grey).save(raw / f"images/{split}/{name}_{number:05d}.png")
            (raw / f"labels/{split}/{name}_{number:05d}.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    done = call("event-det", "data", "prepare", raw, tmp_path / "out", "--classes", "person", "--half")
    assert done.returncode == 0, done.stderr
    checked = call("event-det", "data", "check", tmp_path / "out", "--json")  # as prepare says, without --bins
    assert json.loads(checked.stdout)["splits"]["train"]["labelled"] == 8
    with pytest.raises(
        UserError, match=r"found .*nbins=1 \(a training reads it with representation.window_ms and representation.bins"
    ):
        open_split(Config.model_validate({"data": {"path": str(tmp_path / "out")}}), "train")
    config = Config.model_validate({"data": {"path": str(tmp_path / "out")}, "representation": {"bins": 1}})
    splits = {name: open_split(config, name) for name in ("train", "val", "test")}
    assert {name: split.recordings for name, split in splits.items()} == {
        "train": ["D1_frame_train"], "val": ["D1_frame_val"], "test": ["D2_frame"]
    }  # fmt: skip
    assert [len(split) for split in splits.values()] == [8, 2, 4]
    test = splits["test"]
    assert (test.channels, test.size, test.labelled()) == (2, (20, 30), [0, 1, 3])
    labels = test.labels(0)
    assert labels is not None
    assert labels.boxes.tolist() == [[12, 6, 18, 14]]
    off, on = test.frames(0, 1)[0]
    assert set(on[5:10, 2:4].ravel()) == {6}
    assert set(off[5:10, 4:6].ravel()) == {4}
    assert np.count_nonzero(on) + np.count_nonzero(off) == 5 * 2 + 5 * 2
    assert not test.frames(2, 3).any()


@pytest.mark.skipif(not DATA.is_dir(), reason="the recordings at hand are not there")
def test_pedro_is_read_with_voc_and_with_yolo_boxes(tmp_path: Path) -> None:
    folder = DATA / "pedro"
    raws = find_recordings(folder)
    assert [raw.boxes.suffix for raw in raws] == [".xml"] * 3
    for raw in raws:
        recording = Recording(raw.events)
        voc = read_boxes(raw.boxes, ("person",), recording)
        yolo = read_boxes(raw.boxes.with_suffix(".txt"), ("person",), recording)
        assert len(voc.boxes) > 0
        for name in "xywh":
            assert np.allclose(np.sort(voc.boxes[name]), np.sort(yolo.boxes[name]), atol=0.51)
    how = Preparation(Standard("PEDRo", ("person",), (0, 0)))
    assert [outcome.steps for outcome in prepare_all(raws, tmp_path, how, 1)] == [1, 1, 1]
    sequence = Sequence(tmp_path / "test" / raws[0].name)
    assert sequence.times[0] > 1 << 50
    assert sequence.frames(0, 1).shape == (1, 20, 260, 346)
