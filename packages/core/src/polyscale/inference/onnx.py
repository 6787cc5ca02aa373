"""Sessions of onnxruntime, which runs exported models on the CPU without torch; its telemetry is off.

From version 1.30 the wheels of onnxruntime for Linux and macOS write a device id under the user's cache folder and
report to their maker, from the import on. The variable ORT_DISABLE_TELEMETRY stops all of it, but is read only once,
by the import; so every import of onnxruntime is made here.
"""

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyscale.errors import UserError, foreign

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MIN_VERSION = (1, 30)  # scores of 1.28 are off by .0003 of their range


def load_onnxruntime() -> Any:
    """Import onnxruntime with its telemetry off.

    Returns:
        The module.

    Raises:
        UserError: it is not installed, does not start here, or is too old.
    """
    least = ".".join(map(str, MIN_VERSION))
    install = f'pip install "onnxruntime>={least}"'
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        runtime = importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise UserError(f"onnxruntime is needed: {install}") from error
    except Exception as error:  # a library of the system is missing, or numpy does not fit
        raise UserError(f"onnxruntime does not start ({error}): {install}") from error
    if tuple(map(int, runtime.__version__.split(".")[:2])) < MIN_VERSION:
        raise UserError(f"onnxruntime {runtime.__version__} is too old, {least} is needed: {install}")
    runtime.disable_telemetry_events()  # Windows has no variable; also where somebody imported it before
    return runtime


def session(content: bytes | Path | str, *, threads: int = 0, name: Path | str = "the model") -> "InferenceSession":
    """Make a session that runs an ONNX model on the CPU.

    Args:
        content: the file, or its bytes.
        threads: of one operator; 0 takes one per core.
        name: what errors call bytes.

    Returns:
        The session: `session.run(None, {"image": array})`.

    Raises:
        UserError: the file is missing or no model that onnxruntime can run; see also `load_onnxruntime`.
    """
    runtime = load_onnxruntime()
    if not isinstance(content, bytes) and not Path(content).is_file():
        raise UserError(f"{content}: {'is not a file' if Path(content).exists() else 'no such file'}")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that wait take no time
    model = content if isinstance(content, bytes) else str(content)
    source = name if isinstance(content, bytes) else content
    with foreign(source, f"an ONNX model by onnxruntime {runtime.__version__}"):
        made: InferenceSession = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return made
