"""The detector: a recurrent MaxViT backbone, a feature pyramid and a YOLOX head."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
