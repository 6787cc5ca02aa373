"""AP against numbers worked out by hand, its parts, its intervals, RVT's protocol, and the baselines."""

from pathlib import Path

import numpy as np
import pytest
from event_sets import write_tiny_set

from event_det.config import Config
from event_det.data import EventSet, open_split
from event_det.evaluation.assess import example
from event_det.evaluation.average_precision import AveragePrecision, Found, Truth, jackknife, jackknife_groups
from event_det.evaluation.baselines import BASELINES, components, fit_prior, run_baseline
from event_det.evaluation.evaluate import Raw, score, subsets


def truth(*boxes: tuple[float, float, float, float, int], standing: list[bool] | None = None) -> Truth:
    rows = np.array(boxes, np.float32).reshape(-1, 5)
    return Truth(rows[:, :4], rows[:, 4].astype(np.int64), None if standing is None else np.array(standing, bool))


def found(*boxes: tuple[float, float, float, float, int, float]) -> Found:
    rows = np.array(boxes, np.float32).reshape(-1, 6)
    return Found(rows[:, :4], rows[:, 5], rows[:, 4].astype(np.int64))


def test_ap_by_hand() -> None:
    truths = [truth((0, 0, 10, 10, 0), (20, 20, 60, 60, 0)), truth((5, 5, 15, 15, 0))]
    founds = [found((0, 0, 10, 10, 0, 0.9), (70, 70, 90, 90, 0, 0.8), (20, 20, 60, 60, 0, 0.7)), found()]
    matched = AveragePrecision(truths, founds, 2)
    # precision 1 up to recall 1/3 (34 of 101 levels), 2/3 up to 2/3 (33 levels), 0 beyond
    assert matched.mean() == pytest.approx((34 + 33 * 2 / 3) / 101)
    summary = matched.summary(["car", "bus"])
    assert [summary["AP car"], summary["AP50"]] == pytest.approx([summary["AP"]] * 2)
    assert np.isnan(summary["AP bus"])
    assert summary["AP_M"] == pytest.approx(1)
    assert summary["AP_S"] == pytest.approx(51 / 101)
    assert np.isnan(summary["AP_L"])
    half = [found((0, 0, 10, 7, 0, 0.9))]  # IoU .7: right at 5 of the 10 overlaps
    assert AveragePrecision([truth((0, 0, 10, 10, 0))], half, 1).mean() == pytest.approx(0.5)


def test_frames_can_be_chosen_again() -> None:
    rng = np.random.default_rng(0)
    truths, founds = [], []
    for _ in range(12):
        box = rng.uniform(0, 50, 2)
        truths.append(truth((*box, *(box + 20), int(rng.integers(2)))))
        shifted = box + rng.normal(0, 3, 2)
        guess = (*shifted, *(shifted + 20), int(rng.integers(2)), float(rng.random()))
        founds.append(found(guess, (0, 0, 5, 5, 0, float(rng.random()))))
    matched = AveragePrecision(truths, founds, 2)
    chosen = np.array([1, 2, 5, 7, 11])
    alone = AveragePrecision([truths[i] for i in chosen], [founds[i] for i in chosen], 2)
    assert matched.mean(chosen) == pytest.approx(alone.mean(), abs=1e-12)
    assert matched.mean() == pytest.approx(AveragePrecision(truths, founds, 2).mean(), abs=1e-12)


def test_only_some_boxes_are_looked_for() -> None:
    truths = [truth((0, 0, 10, 10, 0), (20, 20, 60, 60, 0))]
    founds = [found((20, 20, 60, 60, 0, 0.9), (0, 0, 10, 10, 0, 0.5))]
    for only in ([True, False], [False, True]):
        matched = AveragePrecision(truths, founds, 1, [np.array(only)])
        assert matched.mean() == pytest.approx(1)  # what is found of the others is no false alarm
    wrong = [found((20, 20, 60, 60, 0, 0.9), (70, 70, 80, 80, 0, 0.8), (0, 0, 10, 10, 0, 0.5))]
    assert AveragePrecision(truths, wrong, 1, [np.array([True, False])]).mean() == pytest.approx(0.5)


def test_nothing_true_is_not_a_number() -> None:
    matched = AveragePrecision([truth()], [found((0, 0, 9, 9, 0, 0.5))], 1)
    assert np.isnan(matched.mean())


def test_intervals_are_those_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(0, 1, 20)
    without = np.array([np.delete(values, i).mean() for i in range(20)])
    low, high = jackknife(without, float(values.mean()))
    assert (high - low) / 2 == pytest.approx(2.093 * values.std(ddof=1) / np.sqrt(20), rel=1e-3)
    assert np.isnan(jackknife(np.array([1.0]), 1.0)).all()


def test_recordings_are_left_out_whole_where_there_are_enough() -> None:
    many = jackknife_groups(np.repeat(np.arange(30), 4))
    assert len(many) == 20
    assert sorted(np.concatenate(many)) == list(range(120))
    assert all(len(set(group // 4)) == len(group) / 4 for group in many)
    few = jackknife_groups(np.repeat([3, 8], 50))
    assert len(few) == 10
    assert all(np.all(np.diff(group) == 1) for group in few)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> EventSet:
    folder: Path = tmp_path_factory.mktemp("set")
    write_tiny_set(folder)
    return open_split(Config.model_validate({"data": {"path": str(folder), "dataset": "gen1"}}), "test")


def perfect(split: EventSet) -> list[Raw]:
    rows = []
    for step in split.labelled():
        known = split.labels(step)
        assert known is not None
        scores = np.linspace(0.9, 0.8, len(known.labels)).astype(np.float32)
        rows.append((known.boxes.numpy(), scores, scores / 2, known.labels.numpy()))
    return rows


def test_rvts_protocol_leaves_out_the_first_half_second_small_and_empty(split: EventSet) -> None:
    rows = perfect(split)
    field, every = score(split, rows), score(split, rows, protocol="coco")
    assert field.summary["AP"] == pytest.approx(1)
    assert every.summary["AP"] == pytest.approx(1)
    assert every.summary["frames"] == len(split.labelled())
    late = [step for step in split.labelled() if split.sequences[0].times[split.locate(step)[1]] > 500_000]
    empty = [step for step in late if not len(split.labels(step).boxes)]  # type: ignore[union-attr]
    assert empty
    assert 0 < field.summary["frames"] <= len(late) - len(empty)
    box = np.array([[0, 0, 12, 12]], np.float32)  # a diagonal of 17 where 30 counts
    alarm = [(np.concatenate([b, box]), np.append(s, 1), np.append(c, 1), np.append(k, 0)) for b, s, c, k in rows]
    assert score(split, alarm).summary["AP"] == pytest.approx(1)
    assert score(split, alarm, protocol="coco").summary["AP"] < 0.9
    assert field.found[0].scores[0] == pytest.approx(0.45)
    assert score(split, rows, ranking="product").found[0].scores[0] == pytest.approx(0.9)
    assert field.products[0][0] == pytest.approx(0.9)
    unsure = [(b, s / 4, c, k) for b, s, c, k in rows]  # of whose class it is sure: they rank, and are not drawn
    truth, found = example(score(split, unsure), split, 0)
    assert (truth != found).any()
    assert (np.stack(example(field, split, 0)) != found).any()
    positions = {row["subset"]: row for row in subsets(field)}
    assert positions["0 to 1 s"]["AP"] == pytest.approx(1)
    assert sum(row["frames"] for row in positions.values()) == field.summary["frames"]


def test_standing_and_moving_objects_have_rows_of_their_own(split: EventSet) -> None:
    scores = score(split, perfect(split))
    scores.truth[:] = [frame._replace(standing=np.arange(len(frame.labels)) % 2 == 1) for frame in scores.truth]
    assert [row["subset"] for row in subsets(scores)][-1] == "moving"


def test_blobs_are_where_the_events_are(split: EventSet) -> None:
    frame = np.zeros((20, 60, 64), np.uint8)
    frame[3, 10:21, 8:30] = 2
    frame[5, 44:56, 40:63] = 1
    frame[0, 2, 2] = 9
    boxes, events = components(frame)
    assert boxes.tolist() == [[8, 8, 32, 24], [40, 44, 64, 56]]
    assert events.tolist() == [2 * 11 * 22, 12 * 23]
    assert len(components(np.zeros((20, 60, 64), np.uint8))[0]) == 0


def test_baselines_find_what_they_say(split: EventSet) -> None:
    prior = fit_prior(split)
    recordings = range(len(split.recordings))
    results = {name: run_baseline(name, split, prior, recordings) for name in BASELINES}
    steps = split.labelled()
    assert all(sorted(frames) == steps for frames in results.values())
    assert not any(len(frame.boxes) for frame in results["no box"].values())
    assert 0 < len(prior.usual.boxes) <= 20
    assert all(np.array_equal(frame.boxes, prior.usual.boxes) for frame in results["usual boxes"].values())
    step = next(step for step in steps if len(split.labels(step).boxes))  # type: ignore[union-attr]
    known = split.labels(step)
    assert known is not None
    best = results["blobs"][step].boxes[results["blobs"][step].scores.argmax()]
    assert np.abs(best - known.boxes[0].numpy()).max() <= 4
    assert all(len(results["blobs held"][step].boxes) >= len(results["blobs"][step].boxes) for step in steps)
