"""Temporal attention: explicit state, streams that never meet, any chunks equal one pass, identity at the start."""

from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks.attention.temporal import EventTemporalAttention, SmallObjectAttentionModule
from polyscale.testing.contract import ModuleContract

Block = EventTemporalAttention | SmallObjectAttentionModule


class TemporalContract(ModuleContract):
    identity = True
    channels = 4
    sizes = ((8, 8), (7, 5), (1, 1))
    gradcheck_size = (3, 2)
    window: ClassVar[int] = 3

    def inputs(self, batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        x, state = (
            torch.randn(batch, 4, *size, dtype=dtype),
            torch.randn(batch, 4 * (self.window - 1), *size, dtype=dtype),
        )
        return x, state, torch.arange(batch) % 2 == 1

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> Any:
        return [(batch, 4, *size), (batch, 4 * (self.window - 1), *size)]


class TestTemporal(TemporalContract):
    bad_arguments: ClassVar = [
        (lambda: EventTemporalAttention(0), "channels must be an integer of at least 1, got 0"),
        (lambda: EventTemporalAttention(4, 1), "temporal_window must be an integer of at least 2, got 1"),
    ]
    bad_inputs: ClassVar = [
        (lambda block: block(torch.zeros(2, 5, 3, 3)), r"x must be \[B, 4, H, W\], got \[2, 5, 3, 3\]"),
        (
            lambda block: block(torch.zeros(2, 4, 3, 3), torch.zeros(3, 8, 3, 3)),
            r"state must be \[2, 8, 3, 3\], one row per stream, got \[3, 8, 3, 3\]",
        ),
        (
            lambda block: block(torch.zeros(2, 4, 3, 3), reset=torch.zeros(2)),
            r"reset must be bool \[2\], got torch.float32 \[2\]",
        ),
        (
            lambda block: block(torch.zeros(2, 4, 3, 3), reset=torch.zeros(1, dtype=torch.bool)),
            r"reset must be bool \[2\], got torch.bool \[1\]",
        ),
        (lambda block: block.sequence(torch.zeros(2, 4, 3, 3)), r"x must be \[T, B, 4, H, W\] .* got \[2, 4, 3, 3\]"),
        (
            lambda block: block.sequence(torch.zeros(3, 2, 4, 3, 3), reset=torch.zeros(2, dtype=torch.bool)),
            r"reset must be bool \[3, 2\], got \[2\]",
        ),
    ]

    def make(self) -> nn.Module:
        return EventTemporalAttention(4)


class TestWindowOfFive(TemporalContract):
    window = 5
    bad_inputs: ClassVar = [
        (lambda block: block(torch.zeros(2, 4, 3, 3), torch.zeros(2, 8, 3, 3)), r"be \[2, 16, 3, 3\]")
    ]

    def make(self) -> nn.Module:
        return EventTemporalAttention(4, temporal_window=5)


class TestSmallObject(TemporalContract):
    bad_arguments: ClassVar = [
        (lambda: SmallObjectAttentionModule(8, False, False), "enable_spatial and enable_temporal are both False"),
        (lambda: SmallObjectAttentionModule(8, scales=[0]), r"scales\[0\] must be an integer of at least 1, got 0"),
        (lambda: SmallObjectAttentionModule(8, temporal_window=1), "temporal_window must be an integer of at least 2"),
    ]

    def make(self) -> nn.Module:
        return SmallObjectAttentionModule(4)


class TestSpatialOnly(TemporalContract):
    bad_inputs: ClassVar = [(lambda block: block(torch.zeros(2, 3, 3, 3)), r"x must be \[B, 4, H, W\]")]

    def make(self) -> nn.Module:
        return SmallObjectAttentionModule(4, enable_temporal=False)

    def inputs(self, batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        return (torch.randn(batch, 4, *size, dtype=dtype),)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> Any:
        return [(batch, 4, *size), None]


class TestTemporalOnly(TemporalContract):
    bad_inputs: ClassVar = [(lambda block: block(torch.zeros(2, 3, 3, 3)), r"x must be \[B, 4, H, W\]")]

    def make(self) -> nn.Module:
        return SmallObjectAttentionModule(4, enable_spatial=False)


@pytest.fixture(params=[EventTemporalAttention, SmallObjectAttentionModule])
def block(request: pytest.FixtureRequest) -> Block:
    """A trained block in train mode, float64: every gate open."""
    torch.manual_seed(0)
    made = request.param(4).double().train()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def run(block: Block, frames: Tensor, resets: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """frames [T, B, C, H, W] step by step."""
    outs = []
    for frame, reset in zip(frames, resets, strict=True):
        out, state = block(frame, state, reset)
        outs.append(out)
    return torch.stack(outs), state


def video(steps: int = 7, streams: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    resets = torch.zeros(steps, streams, dtype=torch.bool)
    resets[[1, 3, 4, 4], [0, 1, 1, 2]] = True
    return torch.randn(steps, streams, 4, 5, 6, dtype=torch.float64), resets


def test_streams_never_meet(block: Block) -> None:
    """A stream gives what it gives alone, in any order of the batch, even next to a stream of NaN."""
    frames, resets = video()
    together, _ = run(block, frames, resets)
    order = torch.tensor([2, 0, 1])
    shuffled, _ = run(block, frames[:, order], resets[:, order])
    torch.testing.assert_close(shuffled, together[:, order])
    for stream in range(3):
        alone, _ = run(block, frames[:, stream : stream + 1], resets[:, stream : stream + 1])
        torch.testing.assert_close(alone[:, 0], together[:, stream])
    poisoned = frames.clone()
    poisoned[:, 1] = torch.nan
    mixed, _ = run(block, poisoned, resets)
    torch.testing.assert_close(mixed[:, [0, 2]], together[:, [0, 2]])


def test_nothing_passes_a_reset(block: Block) -> None:
    frames, _ = video()
    resets = torch.zeros(7, 3, dtype=torch.bool)
    resets[4, 1] = True
    frames = frames.requires_grad_()
    outs, _ = run(block, frames, resets)
    fresh, _ = run(block, frames[4:, 1:2], torch.zeros(3, 1, dtype=torch.bool))
    torch.testing.assert_close(outs[4:, 1], fresh[:, 0])
    (grad,) = torch.autograd.grad(outs[4:].sum(), frames)
    assert (grad[2:4, [0, 2]].abs().amax((2, 3, 4)) > 0).all()  # the other streams look back over K - 1 = 2 frames
    assert torch.equal(grad[:4, 1], torch.zeros_like(grad[:4, 1]))
    # whatever the state held, even NaN from another data set, a reset ignores it, in value and gradient
    state = torch.full((3, 8, 5, 6), torch.nan, dtype=torch.float64)
    out, _ = block(frames[0], state, torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(out, outs[0])
    assert torch.autograd.grad(out.sum(), frames)[0].isfinite().all()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("detached", [False, True])
def test_chunks_equal_one_pass(block: Block, size: int, detached: bool) -> None:
    frames, resets = video()
    whole, last = run(block, frames, resets)
    state, parts = None, []
    for start in range(0, 7, size):
        part, state = run(block, frames[start : start + size], resets[start : start + size], state)
        assert state is not None
        state = state.detach() if detached else state
        parts.append(part)
    assert torch.equal(torch.cat(parts), whole)
    assert last is not None
    assert torch.equal(state, last)


def test_a_detached_state_carries_values_but_no_gradient(block: Block) -> None:
    first, second = torch.randn(2, 1, 4, 3, 3, dtype=torch.float64, requires_grad=True).unbind()
    _, state = block(first)
    assert state is not None
    kept, _ = block(second, state)
    cut, _ = block(second, state.detach())
    assert torch.equal(kept, cut)
    assert torch.autograd.grad(kept.sum(), first, retain_graph=True)[0].abs().max() > 0
    assert torch.autograd.grad(cut.sum(), first, allow_unused=True)[0] is None


def test_sequence_equals_steps() -> None:
    torch.manual_seed(0)
    block = EventTemporalAttention(4).double()
    nn.init.ones_(block.scale)
    frames, resets = video()
    for given in (None, torch.randn(3, 8, 5, 6, dtype=torch.float64)):
        steps, last = run(block, frames, resets, given)
        out, state = block.sequence(frames, given, resets)
        torch.testing.assert_close(out, steps)
        assert last is not None
        assert torch.equal(state, last)
    torch.testing.assert_close(block.sequence(frames)[0], run(block, frames, torch.zeros_like(resets))[0])


def test_the_pattern_is_the_conv3d_of_the_notes_over_the_whole_window() -> None:
    torch.manual_seed(0)
    block = EventTemporalAttention(4, temporal_window=3).double()
    nn.init.ones_(block.scale)
    frames = torch.randn(3, 2, 4, 5, 6, dtype=torch.float64)
    out, _ = run(block, frames, torch.zeros(3, 2, dtype=torch.bool))
    weight = block.pattern.weight.view(4, 3, 4, 1, 1).transpose(1, 2)  # [out, in, time, 1, 1]
    pattern = F.conv3d(frames.permute(1, 2, 0, 3, 4), weight, block.pattern.bias)[:, :, 0]
    motion = block.motion(torch.cat([frames[1], frames[2]], dim=1)).sigmoid()
    weights = block.excite(block.squeeze(pattern.mean((2, 3))).relu()).sigmoid()[:, :, None, None]
    torch.testing.assert_close(out[2], frames[2] + pattern * motion * weights)


def test_a_first_frame_is_a_still_scene() -> None:
    torch.manual_seed(0)
    block = EventTemporalAttention(4)
    nn.init.ones_(block.scale)
    x = torch.randn(2, 4, 5, 6)
    out, state = block(x)
    again, same = block(x, state)
    assert torch.equal(state, x.repeat(1, 2, 1, 1))
    assert torch.equal(again, out)
    assert torch.equal(same, state)


def test_attention_learns_what_one_frame_cannot_show() -> None:
    """The target is the difference of two frames: without a past, the error stays at the variance of the last frame."""
    torch.manual_seed(0)
    block = EventTemporalAttention(3, temporal_window=2)
    optimizer = torch.optim.Adam(block.parameters(), 0.03)
    for _ in range(150):
        before, x = torch.randn(2, 8, 3, 6, 6).unbind()
        loss = F.mse_loss(block(x, before)[0], x - 0.5 * before)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05  # 0.25 without a past
