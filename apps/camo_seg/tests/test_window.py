"""Fusion window: where the window lies, what is cut and laid back, that it is trained, and that it is cheap."""

import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from camo_seg.cli.info import cost_rows
from camo_seg.config import Config, LossSettings
from camo_seg.model import CamoSegmenter
from camo_seg.model.window import FineWindow, Window
from camo_seg.objective import Objective

TINY = {"backbone": "test_resnet", "width": 8, "image_size": 64, "scales": (1.0, 1.5), "fusion": "window"}


def test_the_window_lies_where_the_map_is_least_certain() -> None:
    sure = torch.full((3, 1, 24, 24), 9.0)
    for row, (y, x) in enumerate([(2, 3), (12, 12), (22, 22)]):
        sure[row, :, y - 2 : y + 3, x - 2 : x + 3] = 0
    window = FineWindow([4], 1.5).choose(sure, (96, 144))
    assert (window.cells, window.whole) == ((8, 12), (24, 36))
    for row, (y, x) in enumerate([(2, 3), (12, 12), (22, 22)]):
        top, left = int(window.top[row]), int(window.left[row])
        assert 0 <= top <= y < top + 8 <= 24
        assert 0 <= left <= x * 1.5 < left + 12 <= 36


def test_crop_sample_and_paste_are_of_one_place() -> None:
    window = Window(torch.tensor([2, 8]), torch.tensor([5, 0]), (8, 8), (24, 24))
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    images = torch.stack([y, x]).expand(2, 2, 96, 96)
    cut = window.crop(images)
    assert cut.shape == (2, 2, 32, 32)
    assert torch.equal(cut[0], images[0, :, 8:40, 20:52])
    assert torch.equal(cut[1], images[1, :, 32:64, 0:32])
    sampled = window.sample(images, (32, 32))  # as fine as the window itself: the same pixels
    torch.testing.assert_close(sampled, cut, rtol=0, atol=1e-3)

    whole, fine = torch.zeros(2, 1, 12, 12), torch.ones(2, 1, 8, 8)
    hard, soft = window.paste(whole, fine, rim=0), window.paste(whole, fine)
    assert hard.shape == (2, 1, 24, 24)
    assert hard.sum() == 2 * 64
    assert (hard[0, 0, 2:10, 5:13] == 1).all()
    assert soft[0, 0, 2, 9] < soft[0, 0, 5, 9] < 1.01  # the rim fades
    assert soft[1, 0, 12, 0] == soft[1, 0, 12, 3] == pytest.approx(soft[1, 0, 11:13, 0].max())  # not at the image's end


def test_the_finer_image_is_what_the_window_sees() -> None:
    """Detail that scale 1.0 cannot hold changes the map inside of the window and nowhere else."""
    torch.manual_seed(0)
    network = CamoSegmenter(**TINY).eval()
    assert network.input_size == 96
    images = torch.rand(1, 3, 96, 96)
    places = []
    network.window.register_forward_pre_hook(lambda _, given: places.append(given[2]))
    before = network(images)
    (window,) = places
    top, left = 4 * int(window.top), 4 * int(window.left)
    with torch.no_grad():
        for unit in network.window.integration:
            for stage in unit.stages:
                stage.out.weight.normal_()
    after = network(images)
    changed = (after - before).abs().amax((0, 1)) > 1e-6
    inside = torch.zeros_like(changed)
    inside[max(0, top - 4) : top + 36, max(0, left - 4) : left + 36] = True
    assert changed.any()
    assert not (changed & ~inside).any()


@pytest.mark.parametrize("experts", [0, 2])
def test_every_parameter_learns(experts: int) -> None:
    torch.manual_seed(0)
    network = CamoSegmenter(**TINY, experts=experts, deep_heads=True)
    masks = (torch.rand(2, 1, 96, 96) > 0.5).float()
    output = network(torch.rand(2, 3, 96, 96), return_loss_inputs=True)
    assert output.logits.shape == (2, 1, 96, 96)
    assert [tuple(x.shape) for x in output.scales] == [(2, 1, 16, 16), (2, 1, 24, 24)]
    settings = LossSettings(boundary=0.5, deep=0.3)
    parts = Objective(settings, TINY["scales"], 1)(output, masks, 0)  # type: ignore[arg-type]
    parts["loss"].backward()
    assert {"boundary", "deep", "scales"} <= set(parts)
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    if experts:
        assert output.routing.probabilities.shape == (4, 2)


def test_batches_and_any_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = CamoSegmenter(**TINY).eval()
    images = torch.rand(3, 3, 70, 101)
    together = network(images)
    assert together.shape == (3, 1, 70, 101)
    torch.testing.assert_close(together[1:2], network(images[1:2]), rtol=1e-4, atol=1e-5)
    network.save_pretrained(tmp_path)
    again = CamoSegmenter.from_pretrained(tmp_path)
    assert again.input_size == 96
    assert torch.equal(again(images), together)


def test_it_costs_a_third_more_than_one_scale() -> None:
    model = {"backbone": "pvt_v2_b0", "image_size": 256, "scales": (1.0, 1.5), "fusion": "window"}
    single, window = cost_rows(Config.model_validate({"model": model}))
    assert single["x multiply_adds"] == 1
    assert 1.2 < window["x multiply_adds"] < 1.4
    assert window["x parameters"] < 1.05


@pytest.mark.parametrize("scales", [(0.5, 1.0, 1.5), (0.5, 1.0)])
def test_other_scales_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"1\.0 and a finer one for fusion window"):
        CamoSegmenter("test_resnet", scales, "window")
    with pytest.raises(ValidationError, match=r"fusion window needs 1\.0 and one finer scale, as 1,1\.5"):
        Config.model_validate({"model": {"scales": scales, "fusion": "window"}})
    assert math.isclose(CamoSegmenter(**{**TINY, "scales": (1.0, 2.0)}).input_size, 128)
