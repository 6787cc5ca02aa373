"""Loading a saved model for the commands: nothing is executed, and a stranger's folder is bounded by its weights."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from caption_det.config import SHIPPED
from caption_det.model.configuration import CaptionDetConfig
from caption_det.model.modeling import CaptionDetModel
from polyscale.errors import UserError, foreign, read_bounded
from polyscale.models.hub import hub
from polyscale.models.sources import CONFIG, MAX_CONFIG_BYTES, WEIGHTS, find
from polyscale.models.tensors import load_tensors, read_tensors

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
MAX_TOKENIZER_BYTES = 32 << 20
TIED = ("decoder.lm_head.",)  # the word embeddings, which the file holds once

AutoConfig.register(CaptionDetConfig.model_type, CaptionDetConfig, exist_ok=True)
AutoModel.register(CaptionDetConfig, CaptionDetModel, exist_ok=True)


def load(source: Path | str) -> CaptionDetModel:
    """Return the model saved under `source` with its tokenizer, in eval mode, in float32.

    Args:
        source: a folder, a run's folder, a shipped name, or a hub id.

    Raises:
        UserError: the source is not there, is damaged, holds another model, or its tensors do not fit.
    """
    folder = find(source, shipped=SHIPPED)
    config = read_config(folder)
    tensors = read_tensors(folder / WEIGHTS)
    _check_size(config, tensors, folder)
    with foreign(folder / CONFIG, "a caption-det model"), hub(cache_only=True):
        model = CaptionDetModel(config)
    load_tensors(model, tensors, folder / WEIGHTS, optional=TIED)
    if config.captioner != "none":
        model.tokenizer = read_tokenizer(folder)
        if len(model.tokenizer) > config.text_config.vocab_size:
            raise UserError(f"{folder}: the tokenizer has more words ({len(model.tokenizer)}) than the model")
    return model.eval()


def read_config(folder: Path) -> CaptionDetConfig:
    """Return the configuration of the model in `folder`."""
    path = folder / CONFIG
    content = read_bounded(path, MAX_CONFIG_BYTES)
    with foreign(path, "the configuration of a saved model"):
        values = json.loads(content.decode("utf-8"))
        kind = values.get("model_type")
        if kind != CaptionDetConfig.model_type:
            other = values.get("class", kind)
            raise UserError(f"{folder}: holds a {other}, not a {CaptionDetConfig.model_type} model")
        config: CaptionDetConfig = CaptionDetConfig.from_dict(values)
    return config


def read_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer that was saved in `folder`."""
    for name in TOKENIZER:
        read_bounded(folder / name, MAX_TOKENIZER_BYTES)
    with foreign(folder / TOKENIZER[0], "a tokenizer"):
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    return tokenizer


def _check_size(config: CaptionDetConfig, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Refuse to build what is far larger than the weights: tried without memory first."""
    text, vision = config.text_config, config.vision_config
    blocks = [text.n_layer, config.memory_layers, config.detector_layers]
    blocks += [vision.num_hidden_layers] if vision is not None else []
    with foreign(folder / CONFIG, "a caption-det model"):
        if max(blocks) > len(tensors):
            raise UserError(f"{folder / CONFIG}: asks for a far larger network than the weights are of")
        with torch.device("meta"), hub(cache_only=True):
            sketch = CaptionDetModel(config)
        wanted = sum(parameter.numel() for parameter in sketch.parameters())
        if wanted > 2 * sum(value.numel() for value in tensors.values()) + (1 << 20):
            raise UserError(f"{folder / CONFIG}: asks for a far larger network than the weights are of")
