"""Multi-scale blocks, losses and a training loop for PyTorch.

Every public block and loss is available here (`polyscale.UNet`) and in its package (`polyscale.blocks.UNet`).
Nothing is imported before a name is first used, not even torch.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
