"""Evaluation over any number of processes."""

import lazy_loader

# Not lazily: functions called like their modules, which the first import of the module would replace by it.
from polyscale.evaluation.bootstrap import bootstrap as bootstrap
from polyscale.evaluation.provenance import provenance as provenance

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
