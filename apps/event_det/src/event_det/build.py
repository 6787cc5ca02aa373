"""From settings to data sets and network."""

from pathlib import Path

from event_det.config import Config
from event_det.data import EventSet
from event_det.model import EventDetector, load_rvt
from polyscale.errors import UserError
from polyscale.models.tensors import load_tensors

RVT_SUFFIX = ".ckpt"


def build_model(config: Config, dataset: EventSet) -> EventDetector:
    """The network that the configuration describes for a data set, with fresh weights or those of a trained model."""
    model = network(config, list(dataset.classes), dataset.size, dataset.channels)
    weights = config.model.weights
    if weights is not None:  # attention changes nothing at its start: weights without it are a good beginning
        load_tensors(model, load_model(weights).state_dict(), weights, optional=("small.", "channel."))
    return model


def network(config: Config, classes: list[str], size: tuple[int, int], channels: int) -> EventDetector:
    """The network for frames [channels, *size], with fresh weights.

    Raises:
        UserError: settings that do not fit each other.
    """
    m = config.model
    if m.width % m.head:
        raise UserError(f"model.head: {m.head} is no divisor of model.width, which is {m.width}", exit_code=2)
    return EventDetector(
        classes,
        size,
        channels,
        m.width,
        m.head,
        m.blocks,
        m.depth,
        m.levels,
        m.patch,
        m.splits,
        m.enable_small_object_attention,
        m.attention_spatial,
        m.attention_temporal,
        m.recurrent,
        m.order,
    )


def load_model(source: Path | str) -> EventDetector:
    """Return the trained network of a run's folder, a hub id, a shipped name, or a checkpoint of RVT (.ckpt).

    Raises:
        UserError: it is not there, damaged, or of another kind.
    """
    if str(source).endswith(RVT_SUFFIX):
        return load_rvt(source)
    return EventDetector.from_pretrained(source)
