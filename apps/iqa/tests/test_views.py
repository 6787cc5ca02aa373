"""What a training step sees: crops, ranked levels and ties, and the objective over them."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from iqa.build import build_model, build_set, build_training_data
from iqa.config import PRESETS, Config, LossSettings
from iqa.objective import Objective
from polyscale.errors import UserError
from polyscale.settings import resolve, to_yaml


def configuration(**overrides: object) -> Config:
    tiny = {"data.train_images": 12, "data.crop": 40, "data.ranked_levels": 3}
    tiny |= {"model.backbone": "test_resnet", "model.pretrained": "none", "model.image_size": 128}
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    return resolve(Config, presets=PRESETS, default_preset="nano", overrides={**tiny, **given})


def test_training_sees_crops_and_validation_whole_images() -> None:
    views = build_training_data(configuration())
    torch.manual_seed(1)
    first = views.train[2]
    torch.manual_seed(1)
    again = views.train[2]
    assert first["image"].shape == (3, 40, 40)
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(views.train[2]["image"], first["image"])
    assert views.val[0]["image"].shape == (3, *views.val.image(0).shape[1:])
    whole = build_training_data(configuration(data__crop=None, data__ranked_levels=0, data__flip=False)).train
    assert torch.equal(whole[3]["image"], whole.base.image(3).float() / 255)


def test_ranked_levels_are_a_function_of_the_step_and_start_with_the_untouched() -> None:
    config = configuration()
    views, other = (build_training_data(config) for _ in range(2))
    assert views.ranked is not None
    assert other.ranked is not None
    here, there = (v.ranked.batch(7, torch.device("cpu")) for v in (views, other))  # type: ignore[union-attr]
    count = config.data.ranked_batch
    assert here.shape == (6 * count, 3, 40, 40)
    assert torch.equal(here, there)
    levels = here.unflatten(0, (6, count)).flatten(2)
    assert ((levels[5] - levels[0]).norm(dim=1) > (levels[1] - levels[0]).norm(dim=1)).all()
    images = views.images({"image": torch.zeros(1, 3, 40, 40)}, 7)
    assert torch.equal(images[1:], here)


def test_ties_show_one_part_of_an_image_before_and_after_an_edit() -> None:
    config = configuration(data__ties=4, data__ranked_levels=0)
    views = build_training_data(config)
    assert views.tied is not None
    pairs = [views.tied.batch(step, torch.device("cpu")).unflatten(0, (2, 4)) for step in range(8)]
    again = views.tied.batch(0, torch.device("cpu")).unflatten(0, (2, 4))
    assert torch.equal(pairs[0], again)
    assert not torch.equal(pairs[0], pairs[1])
    before, after = torch.cat(pairs, 1)
    assert before.shape == (32, 3, 40, 40)
    change = torch.minimum((before - after).abs().mean((1, 2, 3)), (before - after.flip(3)).abs().mean((1, 2, 3)))
    strangers = (before - before.roll(1, 0)).abs().mean((1, 2, 3))
    assert (change > 0).float().mean() > 0.7  # a cut may show the very same square
    assert change.median() < 0.3 * strangers.median()
    images = views.images({"image": torch.zeros(1, 3, 40, 40)}, 0)
    assert torch.equal(images[1:], pairs[0].flatten(0, 1))


def test_ties_cost_their_distance_and_nothing_else() -> None:
    settings = LossSettings(norm_in_norm=0, ranking=0, ranked_levels=2.0, spread=0, ties=3.0, margin=5)
    levels, tied = [0.9, 0.8, 0.7, 0.6, 0.6, 0.4], [0.5, 0.7, 0.52, 0.66]
    scores = torch.tensor([0.3, *levels, *tied])
    parts = Objective(settings, 0.0, 100.0, ties=2)(outputs(scores), torch.tensor([0.3]))
    assert parts["ties"].item() == pytest.approx(3 * (0.02 + 0.04) / 2)
    assert parts["ranked_levels"].item() == pytest.approx(2 * 0.05 / 5)
    assert parts["l1"].item() == 0


def test_ranked_levels_are_of_the_better_third() -> None:
    config = configuration()
    ranked = build_training_data(config).ranked
    assert ranked is not None
    scores = np.asarray(ranked.base.scores)
    assert len(ranked.best) == 4
    assert scores[ranked.best].min() >= np.delete(scores, ranked.best).max()


def test_splits_come_from_one_place() -> None:
    data = configuration().data
    assert build_set(data, "train", 128).names == [f"synthetic_train_{i:05d}" for i in range(12)]
    assert not set(build_set(data, "val", 128).references) & set(build_set(data, "test", 128).references)


def objective(**settings: object) -> Objective:
    off = {"norm_in_norm": 0.0, "ranking": 0.0, "ranked_levels": 0.0, "spread": 0.0}
    return Objective(LossSettings(**{**off, **settings}), 0.0, 100.0)  # type: ignore[arg-type]


def outputs(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return scores, torch.zeros_like(scores)


def test_each_part_is_what_it_says() -> None:
    scores, targets = torch.tensor([0.2, 0.6]), torch.tensor([0.3, 0.5])
    assert objective()(outputs(scores), targets)["loss"].item() == pytest.approx(0.1)
    assert objective(main="mse")(outputs(scores), targets)["loss"].item() == pytest.approx(0.01)
    assert objective(ranking=1.0, margin=5)(outputs(scores), targets)["ranking"].item() == 0
    close = torch.tensor([0.2, 0.21])  # one point apart where five are asked for
    assert objective(ranking=1.0, margin=5)(outputs(close), targets)["ranking"].item() == pytest.approx(0.04)
    first, second = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0.9, 0.8, 0.82, 0.6, 0.59, 0.4]  # wrong by 2 points, by 1 too near
    levels = torch.tensor([first, second]).T.flatten()
    with_ranked = objective(ranked_levels=2.0, margin=5)(outputs(torch.cat([scores, levels])), targets)
    assert with_ranked["ranked_levels"].item() == pytest.approx(2 * (0.07 + 0.04) / 10)
    assert with_ranked["l1"].item() == pytest.approx(0.1)
    assert objective(norm_in_norm=1.0)(outputs(scores), targets)["norm_in_norm"].item() == pytest.approx(0, abs=1e-6)


def test_the_margin_follows_the_range_of_the_opinions() -> None:
    settings = LossSettings(ranking=1.0, norm_in_norm=0, ranked_levels=0, spread=0)
    wrong, targets = torch.tensor([0.6, 0.2]), torch.tensor([0.2, 0.6])
    losses = [Objective(settings, 0.0, high)(outputs(wrong), targets)["ranking"].item() for high in (1.0, 100.0)]
    assert losses[0] == losses[1] > 0.3
    with pytest.raises(UserError, match=r"loss.margin: 5 given, but the MOS range from 0 to 1 only"):
        Objective(LossSettings(margin=5), 0.0, 1.0)


def test_the_spread_learns_the_size_of_the_error_and_moves_no_score() -> None:
    scores = torch.zeros(2000, requires_grad=True)
    log_variance = torch.zeros(1, requires_grad=True)
    targets = torch.from_numpy(np.random.default_rng(0).normal(0, 0.2, 2000).astype(np.float32))
    losses = objective(spread=1.0)((scores, log_variance.expand(2000)), targets)
    losses["spread"].backward(retain_graph=True)
    assert scores.grad is None or not scores.grad.any()
    optimizer = torch.optim.Adam([log_variance], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        objective(spread=1.0)((scores.detach(), log_variance.expand(2000)), targets)["spread"].backward()
        optimizer.step()
    assert (log_variance / 2).exp().item() == pytest.approx(0.2, rel=0.05)


def test_calibration_makes_the_error_of_unit_size() -> None:
    model = build_model(configuration())
    truth = np.random.default_rng(0).normal(50, 10, 500)
    model.calibrate(np.full(500, 50.0), truth, np.full(500, 2.0))
    assert model.spread_scale.item() == pytest.approx(np.sqrt(np.mean((truth - 50) ** 2)) / 2, rel=1e-5)


def test_views_travel_to_worker_processes() -> None:
    config = configuration()
    views = build_training_data(config)
    there = pickle.loads(pickle.dumps(views.val))
    assert torch.equal(there[1]["image"], views.val[1]["image"])


def test_settings_of_older_runs_are_read_by_their_new_names(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data: {crop: 64, chains: 7, chain_batch: 3}\nloss: {chains: 0.5}\n")
    config = resolve(Config, file=path)
    assert (config.data.ranked_levels, config.data.ranked_batch, config.loss.ranked_levels) == (7, 3, 0.5)
    assert "chain" not in to_yaml(config)
    path.write_text("data: {chains: 7, ranked_levels: 7}\n")
    with pytest.raises(UserError, match=r"data\.chains: is called ranked_levels now, and both are there$"):
        resolve(Config, file=path)
