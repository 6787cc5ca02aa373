"""The settings of event-det that are read only together with others."""

from pathlib import Path

from event_det.config import PRESETS, Config
from polyscale.settings import resolve
from polyscale.testing.needs import check_needs

FILES = {"data.path": "recordings"}
IDLE = [
    ({"train.min_lr": 0.1, "train.schedule": "constant"}, {"train.schedule": "step"}),
    ({"loss.size_weight": 3.0}, {"loss.size_aware": "original"}),
    ({"loss.size_curve": "step"}, {"loss.size_aware": "normalised"}),
    ({"loss.small_area": 100.0}, {"loss.size_aware": "original"}),
    ({"model.splits": 2, "model.blocks": (0, 0, 0, 0)}, {"model.blocks": (0, 0, 0, 1)}),
    ({"data.train_recordings": 9, **FILES}, {"data.path": "synthetic"}),
    ({"representation.cutoff": 5, **FILES}, {"data.path": "synthetic"}),
    ({"data.dataset": "gen1"}, FILES),
]


def test_what_nothing_reads_is_refused(tmp_path: Path) -> None:
    check_needs(Config, PRESETS, IDLE, tmp_path)


def test_files_of_before_may_name_a_setting_that_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("data: {time_origin: raw, length: 7}\n")
    assert resolve(Config, file=file).data.length == 7


def test_data_check_shows_the_recordings_that_train_uses() -> None:
    assert resolve(Config, "nano", presets=PRESETS).data.train_recordings == Config().data.train_recordings
