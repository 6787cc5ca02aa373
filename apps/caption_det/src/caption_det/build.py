"""From settings to data sets, tokenizer and network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPVisionConfig, PreTrainedTokenizerBase

from caption_det.config import SHIPPED, Config, ModelSettings
from caption_det.data import CaptionSet, TrainingSet
from caption_det.data.open import SPLITS, SYNTHETIC, Opened, open_data
from caption_det.data.synthetic import World
from caption_det.data.tokenizer import open_tokenizer, train_tokenizer
from caption_det.model import CaptionDetConfig, CaptionDetModel, load
from caption_det.model.loading import read_config
from caption_det.model.lora import add_adapters
from caption_det.model.towers import ClipTower
from polyscale.data.splits import record_splits
from polyscale.errors import UserError, first_line
from polyscale.models.backbones import create_backbone
from polyscale.models.hub import hub
from polyscale.models.sources import find
from polyscale.models.tensors import load_tensors
from polyscale.settings import SPLIT_FILE

CLIP = "clip"
MIN_SIDE = 64  # pixels of a scene of the embedded world


def open_sets(config: Config, recorded: Path | None = None, size: int | None = None) -> Opened:
    """Return the splits that the configuration describes; `recorded` is the split.json of a run.

    Scenes of the embedded world are drawn with side `size`, by default `input_size`.
    """
    data = config.data
    return open_data(
        data.path,
        images=data.images,
        val_fraction=data.val_fraction,
        counts=(data.train_images, data.eval_images, data.eval_images),
        side=max(size or input_size(config), MIN_SIDE),
        recorded=recorded,
    )


def build_set(config: Config, split: str, size: int | None = None, recorded: Path | None = None) -> CaptionSet:
    """Open the "train", "val" or "test" split with samples of side `size`, by default `input_size`."""
    opened = open_sets(config, recorded, size)
    source = opened.source(split, config.data.path)
    cache = config.data.cache and split != "test"
    return CaptionSet(source, split, size or input_size(config), opened.notes, cache=cache)


def resized(config: Config, dataset: CaptionSet, size: int) -> CaptionSet:
    """Return a set as `build_set` opens it with samples of side `size`, without reading its files again."""
    source = dataset.source
    if isinstance(source, World):
        source = replace(source, side=max(size, MIN_SIDE))
    return CaptionSet(source, dataset.split, size, dataset.notes, cache=config.data.cache and dataset.split != "test")


def input_size(config: Config) -> int:
    """Return the side of the network's images: that of model.init, whose shape is kept, or model.image_size."""
    init = config.model.init
    return config.model.image_size if init is None else int(read_config(find(init, shipped=SHIPPED)).image_size)


def build_training_set(config: Config, base: CaptionSet, model: CaptionDetModel) -> TrainingSet:
    """Return training samples with captions as tokens.

    Raises:
        UserError: what is to be learnt has no label in the whole set.
    """
    settings, records = config.model, [base.record(i) for i in range(len(base))]
    if settings.captioner != "none" and not any(record.captions for record in records):
        raise UserError(f"{config.data.path}: no image has a caption; set --model.captioner none to learn boxes alone")
    if settings.detector != "none" and not any(record.boxes is not None for record in records):
        raise UserError(f"{config.data.path}: no image has boxes; set --model.detector none to learn captions alone")
    tokenizer = model.tokenizer if settings.captioner != "none" else None
    data = config.data
    return TrainingSet(base, tokenizer, data.captions, model.config.max_tokens, data.flip, data.box_share)


def record_run(config: Config, out: Path) -> None:
    """Write the splits of a new run to split.json in its folder, so that files which are added later move nothing."""
    if config.data.path != SYNTHETIC:
        splits = open_sets(config).splits
        record_splits(out / SPLIT_FILE, {split: splits[split].names for split in SPLITS if split in splits})


def build_model(config: Config, train_set: CaptionSet) -> CaptionDetModel:
    """The network that the configuration describes, with its tokenizer; fresh weights or those that are asked for."""
    m = config.model
    if m.init is not None:
        return _start_from(config, train_set)
    tokenizer = build_tokenizer(config, train_set) if m.captioner != "none" else None
    network = CaptionDetModel(model_config(config, train_set.categories, tokenizer))
    network.tokenizer = tokenizer
    _load_pretrained(network, m)
    return _prepared(network, m)


def build_tokenizer(config: Config, train_set: CaptionSet) -> PreTrainedTokenizerBase:
    """Return the tokenizer of the captions."""
    if config.data.tokenizer != "captions":
        return open_tokenizer(config.data.tokenizer)
    captions = [caption for i in range(len(train_set)) for caption in train_set.record(i).captions]
    if not captions:
        raise UserError(f"{config.data.path}: no image has a caption; set --model.captioner none to learn boxes alone")
    return train_tokenizer(captions, config.data.vocab_size)


def model_config(
    config: Config, categories: tuple[str, ...], tokenizer: PreTrainedTokenizerBase | None
) -> CaptionDetConfig:
    """Return the shape of the network."""
    m = config.model
    words = {} if tokenizer is None else {
        "vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    return CaptionDetConfig(
        backbone=m.backbone,
        vision_config=_vision_config(m),
        text_config={**_text_shape(m), **words},
        categories=categories or ("object",),
        image_size=m.image_size,
        width=m.width,
        memory=m.memory,
        num_queries=m.queries,
        num_objects=m.objects,
        num_heads=m.heads,
        dropout=m.dropout,
        captioner=m.captioner,
        detector=m.detector,
        max_tokens=m.max_tokens,
        beams=m.beams,
        caption_weight=config.loss.caption,
        detection_weight=config.loss.detection,
        words_weight=config.loss.words,
    )


def _vision_config(m: ModelSettings) -> CLIPVisionConfig | None:
    if m.backbone == CLIP:
        return CLIPVisionConfig(
            hidden_size=m.vision_width,
            intermediate_size=4 * m.vision_width,
            num_hidden_layers=m.vision_layers,
            num_attention_heads=m.heads,
            image_size=m.image_size,
            patch_size=m.vision_patch,
        )
    return ClipTower.from_hub(m.backbone).net.config if "/" in m.backbone else None


def _text_shape(m: ModelSettings) -> dict[str, Any]:
    if m.text != "fresh":
        from transformers import AutoConfig

        with _of_hub(m.text):
            shape: dict[str, Any] = AutoConfig.from_pretrained(m.text).to_dict()
        return shape
    positions = m.max_tokens + 1 + (m.queries if m.captioner == "prefix" else 0)
    rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), m.dropout)
    spread = m.text_width**-0.5  # GPT-2's .02 is for a width of 768; a narrow one would ignore the image for long
    sizes = {"n_embd": m.text_width, "n_layer": m.text_layers, "n_head": m.heads, "n_positions": positions}
    return {**sizes, "initializer_range": spread, **rates}


def _load_pretrained(network: CaptionDetModel, m: ModelSettings) -> None:
    """Load the weights of tower and GPT-2 that are asked for."""
    tower: Any = network.encoder.tower
    if "/" in m.backbone:
        tower.net = ClipTower.from_hub(m.backbone).net
        tower.freeze_unused()
    elif m.pretrained != "none" and m.backbone != CLIP:
        tower.net = create_backbone(m.backbone, m.pretrained)
    if m.text != "fresh" and network.decoder is not None:
        from transformers import GPT2LMHeadModel

        with _of_hub(m.text):
            theirs = GPT2LMHeadModel.from_pretrained(m.text)
        theirs.resize_token_embeddings(network.config.text_config.vocab_size)
        network.decoder.load_state_dict(theirs.state_dict(), strict=False)


@contextmanager
def _of_hub(text: str) -> Iterator[None]:
    """Turn what the hub raises for model.text into a line that says how to go on."""
    try:
        with hub():
            yield
    except (OSError, ValueError) as error:
        raise UserError(
            f"model.text {text}: cannot be loaded ({first_line(error)}); fill the Hugging Face cache where there is a "
            "network and point HF_HOME to it, or set model.text fresh"
        ) from error


def _prepared(network: CaptionDetModel, m: ModelSettings) -> CaptionDetModel:
    if m.freeze_tower:
        network.encoder.tower.requires_grad_(False)
    if m.lora:
        add_adapters(network.decoder, network.encoder.tower, m.lora)
    if m.checkpoint_activations:
        network.gradient_checkpointing_enable()
        tower: Any = network.encoder.tower
        if hasattr(tower.net, "checkpoint_activations"):
            tower.net.checkpoint_activations()
    return network


def _start_from(config: Config, train_set: CaptionSet) -> CaptionDetModel:
    """Return the trained model model.init and its tokenizer; parts that categories or loss.words change are fresh."""
    m = config.model
    assert m.init is not None
    trained = load(m.init)
    shape = CaptionDetConfig.from_dict(trained.config.to_dict())
    values = {**shape.to_dict(), "words_weight": config.loss.words}
    fresh: tuple[str, ...] = ()
    if train_set.categories and list(train_set.categories) != shape.categories:
        values["categories"] = list(train_set.categories)
        fresh = ("detector.classes", "encoder.memory.kind")  # of the categories
    wanted = CaptionDetConfig.from_dict(values)
    if bool(wanted.words_weight) != bool(shape.words_weight):
        fresh += ("words.",)
    if not fresh:
        return _prepared(trained, m)
    network = CaptionDetModel(wanted)
    network.tokenizer = trained.tokenizer
    kept = {name: value for name, value in trained.state_dict().items() if not name.startswith(fresh)}
    load_tensors(network, kept, m.init, optional=fresh)
    return _prepared(network, m)


def check_categories(network: CaptionDetModel, dataset: CaptionSet) -> None:
    """Raise UserError where a data set has boxes of other categories than the model, as their numbers would mislead."""
    if network.detector is None or not dataset.categories:
        return
    own = network.config.categories
    if list(dataset.categories) != own:
        raise UserError(
            f"{dataset.title}: has the categories {_short(dataset.categories)}, the model {_short(own)}; "
            "train it on these with --model.init"
        )


def cost_rows(config: Config) -> list[dict[str, Any]]:
    """Parameters of each part in millions, and multiply-adds of encoder and detection head on one image in billions."""
    from polyscale.models.cost import count

    shape = model_config(config, ("object",), None)
    shape.text_config.vocab_size = config.data.vocab_size
    with torch.device("meta"):
        network = CaptionDetModel(shape).eval().requires_grad_(False)
        image = torch.empty(1, 3, config.model.image_size, config.model.image_size)
        parts: dict[str, nn.Module | None] = {"tower": network.encoder.tower, "pyramid": network.encoder.neck,
                 "memory": network.encoder.memory, "boxes": network.detector, "words": network.decoder}  # fmt: skip
        whole = count(network, image)
    rows = [
        {"part": name, "parameters_M": sum(p.numel() for p in part.parameters()) / 1e6}
        for name, part in parts.items()
        if part is not None
    ]
    return [*rows, {"part": "all", "parameters_M": whole[0] / 1e6, "multiply_adds_G": whole[1] / 1e9}]


def _short(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
