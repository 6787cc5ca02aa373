"""Prediction: the stream of files, in torch on any device or, from ONNX files, without it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
