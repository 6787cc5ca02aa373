import pytest
import timm
import torch
from timm.models.swin_transformer import SwinTransformerBlock
from torch import nn

from polyscale.models.swin import TightSwinBlock, tighten


def block(kind: type[SwinTransformerBlock], shift: int, window: tuple[int, int] = (7, 7)) -> SwinTransformerBlock:
    """Weights far from their beginnings, so that neither bias nor position could be left out unnoticed."""
    torch.manual_seed(0)
    made = kind(24, (56, 56), 3, window_size=window, shift_size=shift, dynamic_mask=True, always_partition=True).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("size", [(14, 21), (24, 32), (5, 40), (7, 7), (1, 1)])
def test_values_are_timm_s(size: tuple[int, int], shift: int) -> None:
    theirs, ours = block(SwinTransformerBlock, shift), block(TightSwinBlock, shift)
    image = torch.randn(3, *size, 24)
    with torch.no_grad():
        want = theirs(image)
        torch.testing.assert_close(ours(image), want, rtol=1e-5, atol=1e-4)
        alone = torch.cat([ours(one) for one in image.split(1)])
    torch.testing.assert_close(alone, want, rtol=1e-5, atol=1e-4)


def test_windows_need_not_be_square() -> None:
    theirs, ours = block(SwinTransformerBlock, 2, (4, 7)), block(TightSwinBlock, 2, (4, 7))
    image = torch.randn(2, 13, 17, 24)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-5, atol=1e-4)


def test_bf16_is_as_near_to_fp32_as_timm_s() -> None:
    theirs, ours = block(SwinTransformerBlock, 3), block(TightSwinBlock, 3)
    image = torch.randn(2, 24, 32, 24)
    with torch.no_grad():
        exact = theirs(image)
        with torch.autocast("cpu", torch.bfloat16):
            errors = [float((net(image) - exact).abs().mean()) for net in (ours, theirs)]
    assert 0 < errors[0] < 1.1 * errors[1]


def test_gradients_are_timm_s() -> None:
    gradients = []
    for kind in (SwinTransformerBlock, TightSwinBlock):
        made = block(kind, 3)
        torch.manual_seed(1)
        made(torch.randn(2, 9, 11, 24)).square().mean().backward()
        gradients.append([p.grad for p in made.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)


def test_dropout_is_timm_s_where_nothing_is_learnt() -> None:
    outs = []
    for kind in (SwinTransformerBlock, TightSwinBlock):
        made = block(kind, 3).train()
        made.attn.attn_drop.p = 0.5
        torch.manual_seed(1)
        with torch.no_grad():
            outs.append(made(torch.randn(1, 9, 11, 24)))
    torch.testing.assert_close(outs[1], outs[0], rtol=0, atol=0)


def test_tighten_keeps_names_and_parameters() -> None:
    with torch.device("meta"):
        net = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1))
        before = dict(net.named_parameters())
        after = dict(tighten(net).named_parameters())
    assert before.keys() == after.keys()
    assert all(after[name] is parameter for name, parameter in before.items())
    assert sum(isinstance(m, TightSwinBlock) for m in net.modules()) == 4
