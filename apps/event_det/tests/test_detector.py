"""The network: RVT's numbers, both orders, state by stream, attention that starts as nothing, checkpoints, export."""

import io
import os
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from event_det.export import Step, export_step
from event_det.model import EventDetector, load_rvt
from event_det.model.detections import detect
from event_det.model.head import Cells
from event_det.model.network import State
from event_det.model.rvt import NAMES, rename
from polyscale.errors import UserError

SIZE = (60, 64)
ATTENTION = {"enable_small_object_attention": True}


def tiny(**changes: Any) -> EventDetector:
    """A network whose every part does something."""
    torch.manual_seed(0)
    model = EventDetector(("car", "bus"), SIZE, **{"in_channels": 4, "width": 8, "head": 4, "depth": 0.33, **changes})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "scale" in name or "integrate" in name:
                parameter.normal_(std=0.5)
    return model.eval()


def events(steps: int, streams: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 11, (steps, streams, 4, *SIZE), generator=generator, dtype=torch.uint8)


def flat(cells: Cells, state: State | None = None) -> list[Tensor]:
    return [*cells[:3], *(tensor for tensors in (state or {}).values() for tensor in tensors)]


def assert_close(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-5) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


VARIANTS = {
    "plain": {},
    "four levels": {"levels": 4},
    "attention": ATTENTION,
    "attention to places": {**ATTENTION, "attention_temporal": False},
    "attention to time, four levels": {**ATTENTION, "attention_spatial": False, "levels": 4},
    "not recurrent": {"recurrent": False},
    "no attention in the first stages": {"blocks": (0, 0, 1, 1)},
}


@pytest.fixture(scope="module", params=VARIANTS)
def model(request: pytest.FixtureRequest) -> EventDetector:
    return tiny(**VARIANTS[request.param])


@pytest.mark.parametrize(
    ("width", "head", "depth", "millions"), [(32, 32, 0.33, 4.405), (48, 24, 0.33, 9.870), (64, 32, 0.67, 18.536)]
)
def test_the_sizes_are_rvts(width: int, head: int, depth: float, millions: float) -> None:
    with torch.device("meta"):
        model = EventDetector(("car", "pedestrian"), (240, 304), 20, width, head, depth=depth)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=5.1e-4)


@torch.no_grad()
def test_steps_stages_and_chunks_give_the_same(model: EventDetector) -> None:
    frames = events(5, 2)
    model.backbone.order = "stage"
    whole = flat(*model(frames))
    model.backbone.order = "time"
    assert_close(flat(*model(frames)), whole)
    model.backbone.order = "auto"
    state, parts = None, []
    for chunk in (frames[:2], frames[2:3], frames[3:]):
        cells, state = model(chunk, state)
        parts.append(cells)
    joined = [torch.cat(tensors) for tensors in zip(*(part[:3] for part in parts), strict=True)]
    assert_close([*joined, *flat(parts[0], state)[3:]], whole)


@torch.no_grad()
def test_a_stream_knows_nothing_of_its_neighbour_nor_of_what_was_before_a_reset(model: EventDetector) -> None:
    frames = events(4, 3)
    cells, state = model(frames)
    alone, own = model(frames[:, 1:2])
    assert_close([t[1::3] for t in flat(cells)] + [t[1:2] for t in flat(cells, state)[3:]], flat(alone, own))
    order = torch.tensor([2, 0, 1])
    swapped, _ = model(frames[:, order])
    assert_close(flat(swapped), [t.unflatten(0, (4, 3))[:, order].flatten(0, 1) for t in flat(cells)])
    _, state = model(events(3, 3, seed=1))
    for tensors in state.values():
        for tensor in tensors:
            tensor[1] = torch.nan  # of a stream that ended
    again, _ = model(frames, state, torch.tensor([False, True, False]))
    assert_close([t[1::3] for t in flat(again)], flat(alone))
    if model.recurrent:
        assert not torch.allclose(again.objectness[0], cells.objectness[0])


@torch.no_grad()
def test_chosen_frames_are_those_of_all(model: EventDetector) -> None:
    frames, chosen = events(3, 2), torch.tensor([4, 1, 5])
    assert_close(flat(model(frames, None, None, chosen)[0]), [t[chosen] for t in flat(model(frames)[0])])


def test_the_gradient_reaches_every_parameter_and_ends_at_the_state() -> None:
    model = tiny(**ATTENTION).train()
    _, state = model(events(1, 2))
    cells, after = model(events(3, 2), {k: [t.detach() for t in v] for k, v in state.items()})
    (cells.boxes.mean() + cells.objectness.mean() + cells.classes.mean()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert all(t.requires_grad for tensors in after.values() for t in tensors)


@torch.no_grad()
def test_attention_changes_nothing_at_the_start() -> None:
    torch.manual_seed(0)
    plain = EventDetector(("car",), SIZE, 4, 8, 4).eval()
    model = EventDetector(("car",), SIZE, 4, 8, 4, **ATTENTION).eval()
    model.load_state_dict({**model.state_dict(), **plain.state_dict()})
    assert_close(flat(model(events(3, 2))[0]), flat(plain(events(3, 2))[0]), 0)


@torch.no_grad()
def test_any_size_and_patch(model: EventDetector) -> None:
    cells, _ = model(events(1, 1)[..., :37, :41])
    assert cells.boxes.shape[1] == sum((64 // s) ** 2 for s in model.strides)
    strides = tiny(patch=2)(events(1, 1))[0].strides.unique().tolist()
    assert strides == [4, 8, 16]


def test_what_does_not_fit_is_named() -> None:
    model = tiny()
    with pytest.raises(ValueError, match=r"frames must be \[T, B, C, H, W\]"):
        model(events(1, 1)[0])
    with pytest.raises(ValueError, match="one row for each of the 2 streams, got 1"):
        model(events(1, 2), model(events(1, 1))[1])
    with pytest.raises(ValueError, match="head must be a divisor of the 8 channels"):
        tiny(head=3)
    with pytest.raises(ValueError, match="levels must be 3 or 4"):
        tiny(levels=5)


def test_detections_are_sorted_cut_and_suppressed() -> None:
    boxes = torch.tensor([[[-5.0, 2, 20, 22], [-4, 2, 20, 22], [-4, 2, 20, 22], [30, 30, 90, 70], [70, 0, 90, 9]]])
    classes = torch.tensor([[[4.0, -9], [3, -9], [-9, 3], [1, -9], [9, 9]]])
    cells = Cells(boxes, torch.full((1, 5), 3.0), classes, torch.zeros(5, 2), torch.ones(5))
    (found,) = detect(cells, SIZE)
    assert found.labels.tolist() == [0, 1, 0]  # the second is the first again, the last is outside
    assert found.boxes.tolist() == [[0, 2, 20, 22], [0, 2, 20, 22], [30, 30, 64, 60]]
    torch.testing.assert_close(found.scores, found.class_scores * torch.tensor(3.0).sigmoid())
    (few,) = detect(cells, SIZE, threshold=0.8)
    assert few.labels.tolist() == [0, 1]


def seeded(name: str, like: Tensor) -> Tensor:
    """The weights with which RVT's own modules were run."""
    if not like.is_floating_point():
        return like
    noise = torch.randn(like.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    ends = ("norm.weight", "norm1.weight", "norm2.weight", "bn.weight", "running_var", "scale1", "scale2")
    return 1 + 0.1 * noise.clamp(-3, 3) if name.endswith(ends) else 0.1 * noise


@pytest.fixture(scope="module")
def rvt() -> EventDetector:
    """RVT tiny with seeded weights."""
    model = EventDetector(("car", "pedestrian"), (64, 64), 20, 32, 32, depth=0.33).eval()
    model.load_state_dict({name: seeded(name, tensor) for name, tensor in model.state_dict().items()})
    return model


@torch.no_grad()
def test_outputs_are_those_of_rvts_own_modules(rvt: EventDetector) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 11, (3, 1, 20, 64, 64), generator=generator, dtype=torch.uint8)
    cells, state = rvt(frames)
    x1, y1, x2, y2 = cells.boxes[-1].unbind(-1)
    centred = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], -1)
    rows = torch.cat([centred, cells.objectness[-1, :, None].sigmoid(), cells.classes[-1].sigmoid()], -1)
    recorded = torch.tensor(
        [
            [-0.74567, -1.1641, 6.68744, 8.23789, 0.46786, 0.44728, 0.47876],
            [-0.06382, 38.60611, 6.69659, 7.97957, 0.50893, 0.43625, 0.49324],
            [34.96904, 12.98374, 12.29481, 14.99106, 0.53062, 0.51249, 0.51529],
            [42.13755, 47.50486, 39.86056, 32.37697, 0.52691, 0.52591, 0.47594],
        ]
    )
    torch.testing.assert_close(rows[[0, 40, 70, 83]], recorded, rtol=1e-4, atol=2e-5)
    hidden = [float(h.abs().mean()) for h in state["hidden"]]
    assert hidden == pytest.approx([0.177758, 0.253763, 0.202314, 0.244691], abs=1e-5)
    cell = [float(c.abs().mean()) for c in state["cell"]]
    assert cell == pytest.approx([0.373159, 0.598658, 0.679455, 0.837106], abs=1e-5)


class Hyperparameters(dict[str, Any]):
    """Stands for what Lightning and omegaconf put into a checkpoint."""

    def __init__(self, **values: Any) -> None:
        super().__init__(values)
        self.parent = None


class Bomb:
    """Runs a command where it is unpickled without restriction."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch bomb",)


def rvt_names(model: EventDetector) -> dict[str, str]:
    """RVT's name of every tensor of ours: the inverse of `rename` for stages of one block."""
    back = {}
    for name in model.state_dict():
        other = re.sub(r"^head\.levels\.(\d)\.", r"yolox_head.\1.", name)
        other = re.sub(r"stages\.(\d)\.(conv|norm)\.", r"stages.\1.downsample_cf2cl.\2.", other)
        other = re.sub(r"attention\.0\.", "att_blocks.0.att_window.", other)
        other = re.sub(r"attention\.1\.", "att_blocks.0.att_grid.", other)
        other = re.sub(r"\.(qkv|proj)\.", r".self_attn.\1.", other)
        other = re.sub(r"\.scale(\d)$", r".ls\1.gamma", other)
        other = other.replace(".mlp.0.", ".mlp.net.0.0.").replace(".mlp.2.", ".mlp.net.2.")
        for ours, rvts in (
            ("lateral.0", "lateral_conv0"),
            ("lateral.1", "reduce_conv1"),
            ("top_down.0", "C3_p4"),
            ("top_down.1", "C3_p3"),
            ("bottom_up.0", "C3_n3"),
            ("bottom_up.1", "C3_n4"),
            ("down.0", "bu_conv2"),
            ("down.1", "bu_conv1"),
        ):
            other = other.replace(f"fpn.{ours}.", f"fpn.{rvts}.")
        for ours, rvts in (
            ("stem", "stems"),
            ("class_convs", "cls_convs"),
            ("box_convs", "reg_convs"),
            ("class_logits", "cls_preds"),
            ("box", "reg_preds"),
            ("objectness", "obj_preds"),
        ):
            other = re.sub(rf"^yolox_head\.(\d)\.{ours}\.", rf"yolox_head.{rvts}.\1.", other)
        back[name] = f"mdl.{other}"
    return back


def write_checkpoint(model: EventDetector, path: Path, **more: Any) -> Path:
    names = rvt_names(model)
    state = {names[name]: tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": Hyperparameters(model={"name": "rnndet"}), **more}, path)
    return path


def test_checkpoints_of_rvt_load(rvt: EventDetector, tmp_path: Path) -> None:
    path = write_checkpoint(rvt, tmp_path / "rvt-t.ckpt", epoch=3, optimizer_states=[{"state": {}}])
    model = load_rvt(path)
    assert (model.classes, model.size, model.tile) == (("car", "pedestrian"), (240, 304), (8, 10))
    loaded = model.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in rvt.state_dict().items())
    assert len(NAMES) == 21
    assert rename("mdl.fpn.C3_n4.conv1.bn.weight") == "fpn.bottom_up.1.conv1.bn.weight"
    three = load_rvt(write_checkpoint(tiny(in_channels=20, width=32, head=32), tmp_path / "b.ckpt"), ("a", "b"), SIZE)
    assert (three.classes, three.size) == (("a", "b"), SIZE)


def test_other_checkpoints_are_one_line_and_run_nothing(
    rvt: EventDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="cannot be read as a checkpoint of RVT"):
        load_rvt(write_checkpoint(rvt, tmp_path / "a.ckpt", callbacks=Bomb()))
    assert not Path("bomb").exists()
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "b.ckpt")
    with pytest.raises(UserError, match=r"b\.ckpt: not a checkpoint of RVT \(no backbone and head"):
        load_rvt(tmp_path / "b.ckpt")
    torch.save([1], tmp_path / "c.ckpt")
    with pytest.raises(UserError, match="no state_dict"):
        load_rvt(tmp_path / "c.ckpt")
    (tmp_path / "d.ckpt").write_bytes(b"\0" * 99)
    with pytest.raises(UserError, match="cannot be read as"):
        load_rvt(tmp_path / "d.ckpt")
    with pytest.raises(UserError, match="has 2 classes, got 1 names"):
        load_rvt(write_checkpoint(rvt, tmp_path / "e.ckpt"), ["car"])


@pytest.mark.parametrize(("suffix", "changes"), [(".pt2", {}), (".onnx", ATTENTION)])
def test_an_exported_step_equals_the_model(tmp_path: Path, suffix: str, changes: dict[str, Any]) -> None:
    if suffix == ".onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(name)
    model = tiny(**changes)
    names = export_step(model, tmp_path / f"a{suffix}")
    assert len(names) == 8 + 2 * bool(changes)
    assert (tmp_path / f"a{suffix}").stat().st_size > 1000
    if suffix == ".pt2":
        step = Step(model)
        inputs = (events(1, 1)[0].float(), torch.tensor([True]), *step.start())
        program = torch.export.load(io.BytesIO((tmp_path / "a.pt2").read_bytes())).module()
        assert_close(list(program(*inputs)), list(step(*inputs)))


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(content: bytes, suffix: str, step: Step) -> Any:
        def run(inputs: list[Tensor]) -> list[Tensor]:
            outputs = list(step(*inputs))
            return [*outputs[:-1], 0.5 * outputs[-1]]  # one state goes wrong

        return run

    monkeypatch.setattr("event_det.export._runner", wrong)
    with pytest.raises(UserError, match="differs from the model in step 1"):
        export_step(tiny(), tmp_path / "a.pt2")
    assert not (tmp_path / "a.pt2").exists()
    with pytest.raises(UserError, match=r"ends in \.onnx or \.pt2"):
        export_step(tiny(), tmp_path / "a.pb")


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = tiny(**ATTENTION)
    model.save_pretrained(tmp_path / "a")
    again = EventDetector.from_pretrained(tmp_path / "a")
    assert (again.classes, again.size) == (model.classes, model.size)
    with torch.no_grad():
        assert_close(flat(*again(events(2, 1))), flat(*model(events(2, 1))), 0)
    boxes, _ = again.detect(events(2, 3), threshold=0)
    assert [len(step) for step in boxes] == [3, 3]
    assert np.all(np.diff(boxes[0][0].scores.numpy()) <= 0)
