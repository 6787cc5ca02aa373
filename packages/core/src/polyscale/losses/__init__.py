"""Losses that no library keeps: torch only, usable alone. A file is imported when its name is first used."""

from polyscale._lazy import lazy_exports

_EXPORTS: dict[str, str] = {
    "box_area": "polyscale.losses.boxes",
    "box_iou_loss": "polyscale.losses.boxes",
    "ciou_loss": "polyscale.losses.boxes",
    "cxcywh_to_xyxy": "polyscale.losses.boxes",
    "diou_loss": "polyscale.losses.boxes",
    "focal_loss": "polyscale.losses.boxes",
    "giou_loss": "polyscale.losses.boxes",
    "nwd_loss": "polyscale.losses.boxes",
    "pairwise_giou": "polyscale.losses.boxes",
    "SetLoss": "polyscale.losses.matching",
    "SetTerms": "polyscale.losses.matching",
    "hungarian_match": "polyscale.losses.matching",
    "norm_in_norm_loss": "polyscale.losses.quality",
    "ranking_loss": "polyscale.losses.quality",
    "ScaleAwareLoss": "polyscale.losses.scale_aware",
    "bce_loss": "polyscale.losses.segmentation",
    "dice_loss": "polyscale.losses.segmentation",
    "iou_loss": "polyscale.losses.segmentation",
    "structure_loss": "polyscale.losses.segmentation",
    "ual_weight": "polyscale.losses.segmentation",
    "uncertainty_aware_loss": "polyscale.losses.segmentation",
    "size_aware_iou_loss": "polyscale.losses.size_aware",
    "size_aware_weights": "polyscale.losses.size_aware",
}

__all__ = list(_EXPORTS)
__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
