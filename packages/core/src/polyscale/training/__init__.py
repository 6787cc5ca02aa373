"""The training loop that every app shares: see `run`. Settings import without torch."""

from polyscale._lazy import lazy_exports

_EXPORTS: dict[str, str] = {
    "NonFiniteLossError": "polyscale.training.state",
    "Run": "polyscale.training.run",
    "TrainSettings": "polyscale.training.options",
    "lr_factor": "polyscale.training.schedule",
    "param_groups": "polyscale.training.schedule",
    "read_journal": "polyscale.training.journal",
}

__all__ = list(_EXPORTS)
__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
