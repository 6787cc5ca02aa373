"""Low-rank adapters (LoRA, Hu et al. 2022) on the pretrained parts: GPT-2's self-attention and CLIP's attention.

The parts that belong to this application learn as they are: pyramid, memory, bridge, cross-attention, heads.
"""

from typing import Any

from torch import Tensor, nn

from caption_det.model.towers import ClipTower
from polyscale.errors import UserError

TEXT_LAYERS = r"transformer\.h\.\d+\.attn\.(c_attn|c_proj)"
VISION_LAYERS = r".*\.(q_proj|v_proj)"
CROSSING = ("crossattention", "ln_cross_attn")  # GPT-2 as it is published has none: they are fresh, or trained here
ADAPTER = "default"
SCALE = 2  # of what an adapter adds: alpha is 2 * rank


def add_adapters(decoder: nn.Module | None, tower: nn.Module, rank: int) -> None:
    """Put adapters into GPT-2 and into a CLIP tower, and freeze their other weights but for the cross-attention.

    A CLIP tower that is frozen stays as it is, and so does a tower of timm, frozen or not.

    Args:
        decoder: GPT-2, None in a model without captions.
        tower: of the encoder.
        rank: of the adapters, 1 or more.

    Raises:
        UserError: peft is not installed, or there is no part for adapters.
    """
    clip = isinstance(tower, ClipTower) and any(parameter.requires_grad for parameter in tower.net.parameters())
    if decoder is None and not clip:
        raise UserError("model.lora: the model has neither GPT-2 nor a CLIP tower that learns; set it to 0")
    if decoder is not None:
        _inject(decoder, TEXT_LAYERS, rank, transposed=True)
        for name, parameter in decoder.named_parameters():
            if any(part in name.split(".") for part in CROSSING):
                parameter.requires_grad_(True)
    if clip:
        _inject(tower.net, VISION_LAYERS, rank, transposed=False)  # type: ignore[arg-type]


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state_dict of a model in which the adapters have become part of the weights they belong to."""
    state = {n.replace(".base_layer.", "."): v for n, v in model.state_dict().items() if ".lora_" not in n}
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight"):
            adapted: Any = module
            state[f"{name}.weight"] = state[f"{name}.weight"] + adapted.get_delta_weight(ADAPTER)
    return state


def _inject(part: nn.Module, layers: str, rank: int, *, transposed: bool) -> None:
    """Replace the layers whose names match; everything in `part` but the adapters is frozen."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise UserError('model.lora: adapters need a package: pip install "polyscale-caption-det[lora]"') from error

    shape = LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=layers, fan_in_fan_out=transposed)
    inject_adapter_in_model(shape, part, ADAPTER)
