"""Prediction in recordings with a detector that is easy to follow: files, videos, memory, grouping of windows."""

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from event_recordings import SENSOR, make_events, same, write
from PIL import Image
from torch import Tensor, nn

from event_det import Events, Recording, stacked_histogram, write_recording
from event_det.data import BOX_DTYPE
from event_det.detections import detection_writer, draw_detected
from event_det.predict import Detected, Predictor, inclusive_windows
from event_det.video import mp4_writer, read_video, write_gif
from polyscale.errors import UserError

CLASSES = ("car", "person")


class Found(NamedTuple):
    """What a detector gives for a frame."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Counter(nn.Module):
    """Boxes whose width grows with the steps seen, and whose score is a share of what memory has of all counts."""

    def __init__(self, size: tuple[int, int], bins: int = 10) -> None:
        super().__init__()
        self.size, self.classes, self.arguments = size, CLASSES, {"in_channels": 2 * bins}
        self.calls: list[int] = []

    def detect(self, frames: Tensor, state: Any = None, *, threshold: float = 0.0) -> tuple[list[list[Found]], Any]:
        """Return one box for each frame, and the steps and counts so far."""
        steps, total = state or (0, 0.0)
        self.calls.append(len(frames))
        found = []
        for frame in frames:
            steps, total = steps + 1, 0.9 * total + float(frame.sum())
            box = torch.tensor([[1.0, 2.0, 3.0 + steps, 12.5]])
            found.append([Found(box, torch.tensor([min(total / 1e5, 1.0)]), torch.tensor([steps % 2]))])
        return found, (steps, total)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return Recording(write(tmp_path_factory.mktemp("events") / "a.raw", make_events(30_000, step=60), "evt3"))


def network(size: tuple[int, int] = SENSOR[::-1]) -> Counter:
    return Counter(size)


def test_windows_hold_both_of_their_ends(recording: Recording) -> None:
    events = recording.read()
    begin = int(events.t[0])
    windows = list(inclusive_windows(recording, 50_000))
    assert [end for end, _ in windows] == [begin + 50_000 * (i + 1) for i in range(len(windows))]
    assert windows[-1][0] > events.t[-1]
    for end, window in windows:
        assert same(window, events.between(end - 50_000, end + 1))
    edge = Events(np.array([0, 5, 10, 10, 15]), *(np.zeros(5, kind) for kind in (np.uint16, np.uint16, np.uint8)))
    path = recording.path.with_name("edge.npy")
    write_recording(path, [edge], (4, 4))
    assert [window.t.tolist() for _, window in inclusive_windows(Recording(path), 10)] == [[0, 5, 10, 10], [10, 10, 15]]


def test_results_do_not_depend_on_the_grouping(recording: Recording) -> None:
    runs = []
    for batch_size in (1, 3, 64):
        model = network()
        runs.append(list(Predictor(model, threshold=0, batch_size=batch_size).stream(recording)))
        assert max(model.calls) <= batch_size
        assert sum(model.calls) == len(runs[-1])
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            assert a.time == b.time
            assert np.array_equal(a.boxes, b.boxes)
            assert np.array_equal(a.scores, b.scores)
    assert runs[0][4].boxes[0, 2] == 8  # memory goes on from window to window


def test_the_network_sees_what_training_sees(recording: Recording) -> None:
    seen: list[Tensor] = []
    model = network()
    inner = model.detect
    model.detect = lambda frames, state=None, threshold=0.0: (  # type: ignore[method-assign]
        seen.append(frames.clone()) or inner(frames, state)  # type: ignore[func-returns-value]
    )
    results = list(Predictor(model, batch_size=2).stream(recording))
    frames = torch.cat(seen)[:, 0].numpy()
    assert frames.dtype == np.uint8
    for frame, found in zip(frames, results, strict=True):
        assert np.array_equal(frame, stacked_histogram(found.events, *SENSOR[::-1], wrap=True))


def test_half_size_networks_give_boxes_of_the_sensor(recording: Recording) -> None:
    full = next(iter(Predictor(network()).stream(recording)))
    half = next(iter(Predictor(network((SENSOR[1] // 2, SENSOR[0] // 2))).stream(recording)))
    assert np.array_equal(half.boxes, 2 * full.boxes)
    assert half.scores < full.scores


def test_what_is_not_finite_is_an_error(recording: Recording) -> None:
    model = network()
    model.detect = lambda frames, state=None, threshold=0.0: (  # type: ignore[method-assign]
        [[Found(torch.full((1, 4), torch.nan), torch.ones(1), torch.zeros(1).long())] for _ in frames],
        None,
    )
    with pytest.raises(UserError, match="is not finite"):
        list(Predictor(model).stream(recording))


def detected(recording: Recording) -> list[Detected]:
    return list(Predictor(network(), threshold=0).stream(recording))


def test_files_hold_the_same_boxes(recording: Recording, tmp_path: Path) -> None:
    results = detected(recording)
    for name in ("a.csv", "a.npy", "a.json"):
        with detection_writer(tmp_path / name, CLASSES, SENSOR) as add:
            for found in results:
                add(found)
    with (tmp_path / "a.csv").open() as file:
        lines = list(csv.DictReader(file))
    rows = np.load(tmp_path / "a.npy")
    coco = json.loads((tmp_path / "a.json").read_text())
    assert len(lines) == len(rows) == len(coco["annotations"]) == len(coco["images"]) == len(results)
    assert rows.dtype == BOX_DTYPE
    assert [category["name"] for category in coco["categories"]] == list(CLASSES)
    for line, row, note, image, found in zip(lines, rows, coco["annotations"], coco["images"], results, strict=True):
        x1, y1, x2, y2 = found.boxes[0].tolist()
        assert int(line["t"]) == row["t"] == image["timestamp"] == found.time
        assert (
            [float(line[n]) for n in "xywh"] == [row[n] for n in "xywh"] == note["bbox"] == [x1, y1, x2 - x1, y2 - y1]
        )
        assert CLASSES.index(line["class"]) == int(line["class_id"]) == row["class_id"] == note["category_id"] - 1
        assert note["image_id"] == image["id"]
        assert row["class_confidence"] == found.scores[0]
    with pytest.raises(UserError, match=r"written as \.csv, \.npy or \.json"):
        detection_writer(tmp_path / "a.xml", CLASSES, SENSOR)


def test_files_of_no_box_are_complete(tmp_path: Path) -> None:
    for name in ("a.csv", "a.npy", "a.json"):
        with detection_writer(tmp_path / name, CLASSES, SENSOR):
            pass
    assert len(np.load(tmp_path / "a.npy")) == 0
    assert json.loads((tmp_path / "a.json").read_text())["annotations"] == []
    assert (tmp_path / "a.csv").read_text().startswith("t,x,y,w,h,class_id,class,score")


def test_boxes_are_drawn_over_the_events(recording: Recording) -> None:
    found = detected(recording)[6]
    image = draw_detected(found, SENSOR, CLASSES)
    assert image.shape == (*SENSOR[::-1], 3)
    bare = draw_detected(
        Detected(0, found.boxes[:0], found.scores[:0], found.labels[:0], found.events), SENSOR, CLASSES
    )
    x1, y1, x2, _ = found.boxes[0].astype(int)
    changed = (image != bare).any(2)
    assert changed[y1, x1:x2].all()
    assert not changed[60:, 100:].any()


def test_videos_are_written_and_read(tmp_path: Path) -> None:
    pytest.importorskip("av")
    ramp = np.repeat(np.arange(0, 255, 4, dtype=np.uint8)[None, :, None], 33, 0).repeat(3, 2)
    with mp4_writer(tmp_path / "a.mp4", 50) as show:
        for shift in range(5):
            show(np.roll(ramp, 8 * shift, 1))
    frames = list(read_video(tmp_path / "a.mp4"))
    assert [time for time, _ in frames] == [0, 50_000, 100_000, 150_000, 200_000]
    assert frames[0][1].shape == (32, 64)
    assert np.abs(frames[3][1][:, 30:].astype(int) - np.roll(ramp, 24, 1)[:32, 30:, 0]).max() < 25
    (tmp_path / "b.mp4").write_bytes(b"no video" * 50)
    with pytest.raises(UserError, match=r"b\.mp4: cannot be read as a video"):
        list(read_video(tmp_path / "b.mp4"))


def test_a_gif_needs_an_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to draw"):
        write_gif(tmp_path / "a.gif", [], 50)
    write_gif(tmp_path / "a.gif", (Image.new("RGB", (8, 8), (30 * i, 0, 0)) for i in range(3)), 50)
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.info["duration"]) == (3, 50)


@pytest.mark.parametrize("kind", ["csv", "gif"])
def test_the_command_writes_and_states_its_pace(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    from event_det.cli.predict import predict

    monkeypatch.setattr("event_det.predict._load", lambda model: network())
    monkeypatch.chdir(tmp_path)
    predict(recording.path, out=[Path(f"a.{kind}"), Path("b.npy")], threshold=0, frames=4)
    said = capsys.readouterr().err
    count = len(detected(recording))
    assert f"made a.{kind}, b.npy: {count} windows, {count} boxes" in said
    assert "times real time" in said
    assert len(np.load("b.npy")) == count
    if kind == "gif":
        assert "stops after 4 of" in said
        with Image.open("a.gif") as image:
            assert image.n_frames == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"a.{kind}", "b.npy"])


def test_the_command_prints_json_lines(
    recording: Recording, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from event_det.cli.predict import predict

    monkeypatch.setattr("event_det.predict._load", lambda model: network())
    predict(recording.path, threshold=0, as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == len(detected(recording))
    assert lines[1]["boxes"][0]["class"] == "car"
    second = detected(recording)[1]
    assert lines[1]["boxes"][0]["score"] == round(float(second.scores[0]), 4) != float(second.scores[0])
    predict(recording.path, threshold=0, as_json=True, limit=2)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == lines[:2]


def test_the_command_refuses_before_it_works(recording: Recording, tmp_path: Path) -> None:
    from event_det.cli.predict import predict

    with pytest.raises(UserError, match="should end in"):
        predict(recording.path, out=[tmp_path / "a.txt"])
    with pytest.raises(UserError, match="one GIF at a time"):
        predict(recording.path, out=[tmp_path / "a.gif", tmp_path / "b.gif"])
    with pytest.raises(UserError, match=r"a\.csv: would be written twice"):
        predict(recording.path, out=[tmp_path / "a.csv", tmp_path / "a.csv"])
    with pytest.raises(UserError, match=r"threshold is 1\.5; a number between 0 and 1 is needed"):
        Predictor(network(), threshold=1.5)
    bare = tmp_path / "bare.npy"
    write_recording(bare, [make_events(50)], SENSOR)
    with pytest.raises(UserError, match="states no sensor size"):
        predict(bare, out=[tmp_path / "a.csv"])
    with pytest.raises(UserError, match="is one of the inputs"):
        predict(bare, out=[bare])
