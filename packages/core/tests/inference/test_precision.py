"""Precision: bf16 only where the processor gains from it, and errors that say what to use instead."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from polyscale.errors import UserError
from polyscale.inference import precision

XEON_CASCADE_LAKE = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\nprocessor\t: 1\nflags\t\t: avx512_bf16\n"
XEON_SAPPHIRE = "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512f avx512_bf16 amx_bf16 amx_tile\n"
XEON_WITHOUT_AMX = "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512f avx512_bf16\n"
EPYC = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512f avx512_bf16\n"
GRAVITON = "processor\t: 0\nFeatures\t: fp asimd i8mm bf16\n"


@pytest.fixture
def fresh_cache() -> Iterator[None]:
    precision.cpu_gains_from_bf16.cache_clear()
    yield
    precision.cpu_gains_from_bf16.cache_clear()


def without_capabilities(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    cpuinfo = tmp_path / "cpuinfo"
    if text is not None:
        cpuinfo.write_text(text)
    monkeypatch.setattr(precision, "_CPUINFO", cpuinfo)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (XEON_CASCADE_LAKE, False),
        (XEON_SAPPHIRE, True),
        (XEON_WITHOUT_AMX, False),
        (EPYC, True),
        (GRAVITON, True),
        (None, False),
    ],
)
def test_flags_of_the_system_decide_where_torch_does_not_say(
    fresh_cache: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, expected: bool
) -> None:
    without_capabilities(monkeypatch, tmp_path, text)
    assert precision.cpu_gains_from_bf16() is expected
    dtype = precision.resolve_precision("auto", "cpu")
    assert dtype == (torch.bfloat16 if expected else None)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, True),
        ({"avx512_bf16": True, "cpu_name": "Intel Xeon"}, False),
        ({"avx512_bf16": True, "amx_bf16": True, "cpu_name": "Intel Xeon"}, True),
        ({"neon": True, "bf16": True}, True),
    ],
)
def test_torch_capabilities_decide_first(
    fresh_cache: None, monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, Any], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert precision.cpu_gains_from_bf16() is expected


def test_torch_and_the_system_agree_about_this_processor(fresh_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if not precision._CPUINFO.is_file() or not hasattr(torch.cpu, "get_capabilities"):
        pytest.skip("only one of them says something here")
    says_torch = precision.cpu_gains_from_bf16()
    precision.cpu_gains_from_bf16.cache_clear()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert precision.cpu_gains_from_bf16() is says_torch


def test_explicit_precisions() -> None:
    assert precision.resolve_precision("fp32", "cpu") is None
    assert precision.resolve_precision("bf16", "cpu") is torch.bfloat16
    assert isinstance(precision.autocast("fp32", "cpu"), nullcontext)


def test_autocast_changes_the_type_of_a_product() -> None:
    x = torch.ones(2, 2)
    with precision.autocast("bf16", "cpu"):
        assert (x @ x).dtype is torch.bfloat16
    with precision.autocast("fp32", "cpu"):
        assert (x @ x).dtype is torch.float32


@pytest.mark.parametrize(("name", "says"), [("fp16", "fp16 needs a CUDA device"), ("half", "'half' is none of auto")])
def test_what_cannot_be_done_is_a_usage_error(name: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        precision.resolve_precision(name, "cpu")
    assert caught.value.exit_code == 2


def test_gpu_rules_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert precision.resolve_precision("auto", "cuda") is None
    assert precision.resolve_precision("fp16", "cuda") is torch.float16
    with pytest.raises(UserError, match="has no bf16"):
        precision.resolve_precision("bf16", "cuda:0")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert precision.resolve_precision("auto", "cuda") is torch.bfloat16


def test_auto_device_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert precision.resolve_device("auto").type == "cuda"
    assert precision.resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(UserError, match="no cuda:1"):
        precision.resolve_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert precision.resolve_device("auto") == torch.device("cpu")


@pytest.mark.parametrize(("name", "says"), [("gpu", "'gpu' is none of auto, cpu"), ("meta", "has no meta")])
def test_devices_that_are_not_there(name: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        precision.resolve_device(name)
