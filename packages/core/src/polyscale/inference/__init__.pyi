from .onnx import load_onnxruntime as load_onnxruntime
from .onnx import session as session
from .precision import autocast as autocast
from .precision import resolve_device as resolve_device
from .precision import resolve_precision as resolve_precision
from .predictor import Failure as Failure
from .predictor import Predictor as Predictor
