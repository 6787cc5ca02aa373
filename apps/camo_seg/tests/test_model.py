"""The segmenter: any image size, per-scale predictions on request, cost against one scale, saving and loading."""

import json
from pathlib import Path

import pytest
import torch

from camo_seg.cli.info import cost_rows
from camo_seg.config import Config
from camo_seg.model.network import CamoSegmenter
from polyscale.errors import UserError
from polyscale.testing.command import call, one_line

TINY = {"backbone": "test_resnet", "width": 8, "image_size": 64}


@pytest.fixture(params=["hierarchical", "absi", "single"])
def tiny(request: pytest.FixtureRequest) -> CamoSegmenter:
    torch.manual_seed(0)
    if request.param == "single":
        return CamoSegmenter(**TINY, scales=(1.0,))
    return CamoSegmenter(**TINY, fusion=request.param)


@pytest.mark.parametrize("size", [(64, 64), (50, 97)])
def test_logits_have_the_image_size(tiny: CamoSegmenter, size: tuple[int, int]) -> None:
    assert tiny.eval()(torch.rand(2, 3, *size)).shape == (2, 1, *size)


def test_every_parameter_learns_when_the_scales_are_supervised(tiny: CamoSegmenter) -> None:
    output = tiny(torch.rand(2, 3, 64, 64), return_loss_inputs=True)
    assert len(output.scales) == (3 if tiny.multiscale else 0)
    (output.logits.square().mean() + sum(p.square().mean() for p in output.scales)).backward()
    assert [name for name, p in tiny.named_parameters() if p.grad is None] == []


def test_images_are_normalised_inside(tiny: CamoSegmenter) -> None:
    x = torch.rand(1, 3, 64, 64)
    seen = []
    tiny.eval().backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    tiny(x)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (tiny.backbone.mean, tiny.backbone.std))
    torch.testing.assert_close(seen[0], (x - mean) / std)
    assert mean.flatten().tolist() != [0, 0, 0]


def test_a_saved_model_predicts_the_same(tiny: CamoSegmenter, tmp_path: Path) -> None:
    tiny.eval().save_pretrained(tmp_path, about={"data": "none"})
    again = CamoSegmenter.from_pretrained(tmp_path)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(again(x), tiny(x))
    assert CamoSegmenter.about(tmp_path) == {"data": "none"}


def test_weights_of_another_model_are_refused_in_one_line(tmp_path: Path) -> None:
    CamoSegmenter(**TINY).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"width": 8', '"width": 16'))
    with pytest.raises(UserError, match="weights of another model") as error:
        CamoSegmenter.from_pretrained(tmp_path)
    assert "\n" not in str(error.value)
    config.write_text(config.read_text().replace("camo_seg.CamoSegmenter", "iqa.Scorer"))
    with pytest.raises(UserError, match=r"holds a iqa\.Scorer"):
        CamoSegmenter.from_pretrained(tmp_path)


@pytest.mark.parametrize("fusion", ["hierarchical", "absi"])
@pytest.mark.parametrize("backbone", ["pvt_v2_b0", "pvt_v2_b2"])
def test_three_scales_add_at_most_a_fifth_of_the_parameters(fusion: str, backbone: str) -> None:
    with torch.device("meta"):
        networks = [CamoSegmenter(backbone, scales, fusion) for scales in ((1.0,), (0.5, 1.0, 1.5))]
    single, three = (sum(p.numel() for p in network.parameters()) for network in networks)
    assert single < three <= 1.2 * single


def test_cost_of_pvt_v2_b2_is_the_published_one() -> None:
    model = {"backbone": "pvt_v2_b2", "image_size": 352, "width": 8, "scales": (1.0,)}
    (row,) = cost_rows(Config.model_validate({"model": model}))
    assert row["parameters_M"] == pytest.approx(24.85, rel=0.01)
    assert row["multiply_adds_G"] == pytest.approx(10.46, rel=0.03)
    assert row["x parameters"] == 1.0


def test_info_shows_the_card_of_a_model() -> None:
    assert "# camo-seg nano" in call("camo-seg", "info", "nano").stdout
    assert "metrics" in json.loads(call("camo-seg", "info", "nano", "--json").stdout)
    one_line(call("camo-seg", "info", "runs/none"), 1, "runs/none")
