"""Sessions of onnxruntime: nothing is left behind or opened, and what cannot be run is one line."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from polyscale.errors import UserError
from polyscale.inference.onnx import load_onnxruntime, session

RELU = (  # y = relu(image) of one axis, as the package onnx writes it
    b"\x08\t:7\n\x10\n\x05image\x12\x01y\x22\x04Relu\x12\x01gZ\x11\n\x05image\x12\x08\n\x06\x08\x01\x12\x02\n\x00"
    b"b\r\n\x01y\x12\x08\n\x06\x08\x01\x12\x02\n\x00B\x04\n\x00\x10\x11"
)
PROBE = """
import os, sys, time
from pathlib import Path
from polyscale.inference.onnx import session
session(bytes.fromhex(sys.argv[1])).run(None, {"image": __import__("numpy").ones(3, "float32")})
time.sleep(0.5)
opened = [os.readlink(fd) for fd in Path("/proc/self/fd").glob("*") if fd.is_symlink()]
print([name for name in opened if name.startswith("socket")], "torch" in sys.modules)
"""
installed = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed")


@installed
@pytest.mark.skipif(sys.platform == "win32", reason="needs a home folder of its own")
def test_a_session_leaves_nothing_behind_and_opens_no_socket(tmp_path: Path) -> None:
    """Without the switch .cache/Microsoft/DeveloperTools/.onnxruntime/deviceid appears."""
    # of the environment nothing else: with the variables of a CI service onnxruntime is quiet by itself
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-B", "-c", PROBE, RELU.hex()]
    done = subprocess.run(command, check=False, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[] False\n", "")
    assert list(tmp_path.rglob("*")) == []


@installed
def test_a_model_of_bytes_or_a_file_runs(tmp_path: Path) -> None:
    (tmp_path / "relu.onnx").write_bytes(RELU)
    for content in (RELU, tmp_path / "relu.onnx", str(tmp_path / "relu.onnx")):
        made = session(content, threads=1)
        assert made.get_providers() == ["CPUExecutionProvider"]
        np.testing.assert_array_equal(made.run(None, {"image": np.float32([-1, 2])})[0], [0, 2])


@installed
@pytest.mark.parametrize("content", [b"", b"no model", RELU[:-9], RELU.replace(b"Relu", b"Rela")])
def test_what_is_no_model_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    for source, name in ((content, "the model"), (tmp_path / "a.onnx", "a.onnx")):
        with pytest.raises(UserError, match=f"{name}: cannot be read as an ONNX model by onnxruntime") as error:
            session(source)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"none\.onnx: no such file"):
        session(tmp_path / "none.onnx")


@pytest.mark.parametrize("version", ["1.9.0", "1.29.1"])
def test_an_old_version_is_named(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(__version__=version))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf'onnxruntime {version} is too old, 1\.30 is needed: pip install "onnxrun'):
        load_onnxruntime()


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r'onnxruntime is needed: pip install "onnxruntime>=1\.30"'):
        load_onnxruntime()
