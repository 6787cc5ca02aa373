"""RVT's layout written and read, filters, sequences and their order, and flips and zooms that boxes follow."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from event_det.config import Config
from event_det.data import BOX_DTYPE, BoxFilter, Clips, EventSet, Sequence, collate, open_split, write_sequence
from event_det.data.augment import Augment, Change, Zoom, resize_nearest
from event_det.data.boxes import STANDARDS, crop_boxes, filter_boxes
from polyscale.errors import UserError

CLASSES = ("car", "pedestrian")
SIZE = (24, 32)


def rows(time: int, *boxes: tuple[float, float, float, float, int]) -> np.ndarray:
    """Make rows of boxes given as x, y, w, h, class."""
    made = np.zeros(len(boxes), BOX_DTYPE)
    made["t"] = time
    for name, values in zip(("x", "y", "w", "h", "class_id"), zip(*boxes, strict=True), strict=False):
        made[name] = values
    return made


def write_recording_folder(folder: Path, steps: int, labelled: list[int], seed: int = 0) -> np.ndarray:
    """Write a recording with random histograms and one box that grows in each labelled step."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 11, (steps, 20, *SIZE)).astype(np.uint8) * (rng.random((steps, 20, *SIZE)) < 0.05)
    times = 100_000 + 50_000 * np.arange(steps)
    frames = {int(times[k]): rows(int(times[k]), (2, 3, 5 + k, 6, k % 2)) for k in labelled}
    write_sequence(folder, data, times, frames)
    return data


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> EventSet:
    folder = tmp_path_factory.mktemp("set")
    for number, (steps, labelled) in enumerate([(7, [1, 3, 6]), (12, [2, 11]), (5, [0, 4])]):
        write_recording_folder(folder / f"r{number}", steps, labelled, number)
    return EventSet([Sequence(folder / f"r{number}") for number in range(3)], CLASSES, "made up")


def test_the_layout_is_rvts(tmp_path: Path) -> None:
    data = write_recording_folder(tmp_path / "a", 6, [1, 3])
    inner = tmp_path / "a/event_representations_v2/stacked_histogram_dt=50_nbins=10"
    assert {path.name for path in inner.iterdir()} == {
        "event_representations.h5", "objframe_idx_2_repr_idx.npy", "timestamps_us.npy"
    }  # fmt: skip
    with h5py.File(inner / "event_representations.h5") as file:
        assert np.array_equal(file["data"][:], data)
        assert file["data"].chunks == (1, 20, *SIZE)
    assert np.load(inner / "objframe_idx_2_repr_idx.npy").tolist() == [1, 3]
    with np.load(tmp_path / "a/labels_v2/labels.npz") as labels:
        assert labels["labels"].dtype == BOX_DTYPE
        assert labels["labels"].dtype.itemsize == 40
        assert labels["objframe_idx_2_label_idx"].tolist() == [0, 1]
    assert np.load(tmp_path / "a/labels_v2/timestamps_us.npy").tolist() == [150_000, 250_000]


def test_steps_follow_each_other(split: EventSet) -> None:
    assert (len(split), split.size, split.channels) == (24, SIZE, 20)
    sample = split[7 + 2]
    assert (sample["recording"], sample["timestamp"], sample["first"]) == ("r1", 200_000, False)
    assert sample["boxes"] is not None
    assert sample["boxes"].tolist() == [[2, 3, 9, 9]]
    assert sample["labels"] is not None
    assert sample["labels"].tolist() == [0]
    assert split[7]["first"]
    assert split[8]["boxes"] is None
    assert torch.equal(split[8]["frames"], torch.from_numpy(split.sequences[1].frames(1, 2)[0]))


def test_a_copy_in_another_process_opens_its_own_files(split: EventSet) -> None:
    split[3]
    copy = pickle.loads(pickle.dumps(split))
    assert all("histograms" not in sequence.__dict__ for sequence in copy.sequences)
    assert torch.equal(copy[3]["frames"], split[3]["frames"])


def test_few_files_stay_open(split: EventSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("event_det.data.steps.OPEN_FILES", 1)
    for index in (0, 8, 20, 1):
        split[index]
    assert sum("histograms" in sequence.__dict__ for sequence in split.sequences) == 1


def test_folders_of_evlib_and_frames_without_boxes(tmp_path: Path) -> None:
    times = np.array([100_000, 150_000])
    frames = {100_000: rows(100_000), 150_000: rows(150_000, (1, 1, 4, 4, 1))}
    write_sequence(tmp_path / "a", np.zeros((2, 20, *SIZE), np.uint8), times, frames)
    inner = tmp_path / "a/event_representations_v2"
    (inner / "stacked_histogram_dt=50_nbins=10").rename(inner / "stacked_histogram_dt50_nbins10")
    sequence = Sequence(tmp_path / "a")
    found = [sequence.labels(step) for step in (0, 1)]
    assert [None if labels is None else len(labels[0]) for labels in found] == [0, 1]


def test_half_size_frames_have_half_size_boxes(tmp_path: Path) -> None:
    frames = {100_000: rows(100_000, (10, 20, 30, 26, 1))}
    write_sequence(tmp_path / "a", np.zeros((1, 20, *SIZE), np.uint8), np.array([100_000]), frames, half=True)
    split = EventSet([Sequence(tmp_path / "a")], CLASSES, "half")
    labels = split.labels(0)
    assert labels is not None
    assert labels.boxes.tolist() == [[5, 10, 20, 23]]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("labels_v2/labels.npz", "labels.npz: no such file"),
        ("event_representations_v2/stacked_histogram_dt=50_nbins=10/event_representations.h5", "not prepared to its"),
        ("event_representations_v2/stacked_histogram_dt=50_nbins=10/timestamps_us.npy", "timestamps_us.npy: no such"),
        ("labels_v2/timestamps_us.npy", "timestamps_us.npy: no such file"),
    ],
)  # fmt: skip
def test_a_missing_file_is_named(tmp_path: Path, damage: str, words: str) -> None:
    write_recording_folder(tmp_path / "a", 4, [1])
    (tmp_path / "a" / damage).unlink()
    with pytest.raises(UserError, match=words):
        Sequence(tmp_path / "a")


def test_other_bins_are_named(tmp_path: Path) -> None:
    write_recording_folder(tmp_path / "a", 4, [1])
    with pytest.raises(
        UserError, match="holds no stacked_histogram_dt=50_nbins=5; found stacked_histogram_dt=50_nbins=10"
    ):
        Sequence(tmp_path / "a", bins=5)


def test_filters_are_those_of_rvt() -> None:
    boxes = rows(
        1, (-5, -5, 20, 30, 0), (290, 100, 60, 60, 1), (10, 10, 290, 50, 0), (5, 5, 9, 80, 1), (0, 0, 20, 20, 3)
    )
    gen1 = STANDARDS["gen1"]
    kept = filter_boxes(boxes, gen1, "val")
    assert kept["w"].tolist() == [13, 290]  # cut at 303; the first is 15 x 25 then: diagonal 29
    assert filter_boxes(boxes, gen1, "train")["w"].tolist() == [13]
    assert crop_boxes(boxes, gen1.sensor)["w"].tolist() == [15, 13, 290, 9, 20]
    assert boxes["x"][0] == -5
    gen4 = STANDARDS["gen4"]
    assert len(filter_boxes(rows(1, (9, 9, 5, 5, 2), (9, 9, 4.9, 50, 2), (9, 9, 50, 50, 3)), gen4, "test")) == 1
    assert len(filter_boxes(rows(1, (9, 9, 50, 50, 6)), STANDARDS["gen4-7"], "test")) == 1
    time, side = np.array([500_000, 500_001]), np.array([50.0, 50.0])
    assert gen4.evaluate.scaled(0.5).keep(side, side, time, sensor_width=640).tolist() == [False, True]
    assert BoxFilter(60, 20).keep(np.array([19.0, 43.0]), np.array([60.0, 43.0]), sensor_width=1280).tolist() == [
        False,
        True,
    ]


def test_streams_leave_out_long_unlabelled_parts(split: EventSet) -> None:
    assert [list(part) for part in split.streams(5)[0]] == [[0, 1, 2, 3, 4], [5, 6]]
    assert [sum(map(len, stream)) for stream in split.streams(5)] == [7, 12, 5]
    streams = split.streams(3, labelled=True)
    assert [(stream[0].start, stream[-1].stop) for stream in streams] == [
        (0, 7), (7, 10), (7 + 9, 19), (19, 20), (21, 24)
    ]  # fmt: skip
    assert all(any(step in split.labelled() for step in part) for stream in streams for part in stream)


def test_sequences_of_a_stream(split: EventSet) -> None:
    clips = Clips(split, 4, sampling="stream")
    batch = collate([clips[0], clips[1]])
    assert batch["frames"].shape == (4, 2, 20, *SIZE)
    assert batch["steps"].tolist() == [4, 3]
    assert torch.equal(batch["frames"][2, 1], split[6]["frames"])
    assert not batch["frames"][3, 1].any()
    targets = batch["targets"]
    assert [[target is not None for target in step] for step in targets] == [
        [False, False], [True, False], [False, True], [True, False]
    ]  # fmt: skip
    assert targets[2][1] is not None
    assert targets[2][1][0].tolist() == [[2, 3, 13, 9]]


def test_sequences_from_anywhere_end_with_a_label(split: EventSet) -> None:
    clips = Clips(split, 3, sampling="random")
    assert len(clips) == 7
    assert [clip["steps"] for clip in (clips[0], clips[1], clips[5])] == [2, 3, 1]
    assert all(clips[i]["targets"][clips[i]["steps"] - 1] is not None for i in range(7))
    keys = [key for batch in clips.order.epoch([0, 0, 0], 2, 0, 1) for key in batch]
    assert all(key.first for key in keys)


def test_mixed_batches_are_half_streams_half_anything(split: EventSet) -> None:
    clips = Clips(split, 2, sampling="mixed")
    played = len(clips) - 7
    for rank in range(2):
        batches = list(clips.order.epoch([0, 0, 0], 3, rank, 2))
        assert len(batches) == clips.order.batches(3, 2)
        for batch in batches:
            assert [key.sample < played for key in batch] == [True, True, False]
            assert batch[2].first
    again = list(clips.order.epoch([0, 0, 0], 3, 0, 2))
    assert again == list(clips.order.epoch([0, 0, 0], 3, 0, 2))
    assert {
        key.sample for rank in range(2) for batch in clips.order.epoch([0, 0, 0], 3, rank, 2) for key in batch[:2]
    } == set(range(played))


def drawn(box: list[int], size: tuple[int, int] = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a filled box into frames [1, H, W], and give it as boxes [1, 4]."""
    frames = torch.zeros((1, *size), dtype=torch.uint8)
    frames[:, box[1] : box[3], box[0] : box[2]] = 1
    return frames, torch.tensor([box], dtype=torch.float32)


def test_boxes_follow_what_is_drawn() -> None:
    size = (120, 160)
    outside = 0
    for seed in range(200):
        torch.manual_seed(seed)
        x, y = int(torch.randint(0, 120, ())), int(torch.randint(0, 90, ()))
        frames, boxes = drawn([x, y, x + int(torch.randint(8, 39, ())), y + int(torch.randint(8, 29, ()))], size)
        change = Augment(flip=0.5, zoom=0.9, inwards=0.5).draw(size, boxes)
        after = change.frames(frames)[0]
        moved, keep = change.boxes(boxes, size)
        assert bool(keep.all())
        ys, xs = torch.nonzero(after, as_tuple=True)
        tight = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()
        assert (moved[0] - tight).abs().max() <= 1.5, (seed, change)
        outside += change.zoom is not None and change.zoom.inwards
    assert outside > 50


def test_flip_is_exact_and_its_own_inverse() -> None:
    frames, boxes = drawn([3, 4, 9, 11])
    change = Change(flip=True)
    moved, _ = change.boxes(boxes, SIZE)
    assert moved.tolist() == [[23, 4, 29, 11]]
    assert torch.equal(change.frames(frames), drawn([23, 4, 29, 11])[0])
    assert torch.equal(change.boxes(moved, SIZE)[0], boxes)


def test_zooming_in_drops_what_leaves_the_frame() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [12, 10, 20, 18]])
    moved, keep = Change(zoom=Zoom(True, 10, 8, 12, 16)).boxes(boxes, SIZE)
    assert keep.tolist() == [False, True]
    assert moved.tolist() == [[4, 4, 20, 20]]


def test_all_parts_of_a_stream_get_the_same_change() -> None:
    with_boxes = torch.tensor([[1.0, 1, 5, 5]])
    changes = []
    for boxes in (None, with_boxes):
        torch.manual_seed(4)
        changes.append(Augment(flip=0.5, zoom=1.0).draw(SIZE, boxes))
    assert changes[0] == changes[1]
    assert changes[0].zoom is not None


@pytest.mark.parametrize("shape", [(48, 40), (12, 16), (13, 31)])
def test_resizing_is_nearest_exact(shape: tuple[int, int]) -> None:
    frames = torch.rand((3, *SIZE))
    expected = torch.nn.functional.interpolate(frames[None], size=shape, mode="nearest-exact")[0]
    assert torch.equal(resize_nearest(frames, *shape), expected)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> EventSet:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYSCALE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_split(Config.model_validate({"data": {"train_recordings": 2}}), "train")


def test_the_embedded_set_opens(embedded: EventSet) -> None:
    assert embedded.classes == ("pedestrian", "two-wheeler", "car")
    assert (embedded.size, embedded.channels, len(embedded)) == ((128, 160), 20, 2 * 79)
    sample = embedded[40]
    assert sample["boxes"] is not None
    assert sample["standing"] is not None
    assert len(sample["boxes"]) == len(sample["standing"])
    assert sample["frames"].max() <= 10
    assert sample["frames"].any()


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    write_recording_folder(tmp_path / "train/a", 4, [1])
    with pytest.raises(UserError, match="holds no folder val; of the splits it has train"):
        open_split(Config.model_validate({"data": {"path": str(tmp_path)}}), "val")
    with pytest.raises(UserError, match="frames of 32x24 are of no data set that is known by its size"):
        open_split(Config.model_validate({"data": {"path": str(tmp_path)}}), "train")
    opened = open_split(Config.model_validate({"data": {"path": str(tmp_path), "dataset": "gen1"}}), "train")
    assert opened.classes == STANDARDS["gen1"].classes
    (tmp_path / "event_det.json").write_text('{"classes": ["drone", "bird"], "evaluate": {"min_side": 4}}')
    opened = open_split(Config.model_validate({"data": {"path": str(tmp_path)}}), "train")
    assert (opened.classes, opened.evaluate) == (("drone", "bird"), BoxFilter(min_side=4))


def test_only_sets_with_published_tables_are_ranked_by_class() -> None:
    by_class = {name for name, standard in STANDARDS.items() if standard.ranking == "class"}
    assert by_class == {"gen1", "gen4", "gen4-7", "etram"}
