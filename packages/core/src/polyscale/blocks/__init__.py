"""Blocks: torch only, usable alone. A block's file is imported when its name is first used."""

from polyscale._lazy import lazy_exports

_EXPORTS: dict[str, str] = {
    "match_size": "polyscale.blocks.scales",
    "MultiScaleInputGenerator": "polyscale.blocks.scales",
    "HierarchicalScaleIntegration": "polyscale.blocks.integration",
    "AttentionBasedScaleIntegrationUnit": "polyscale.blocks.integration",
    "ScalePredictionHead": "polyscale.blocks.multiscale_input",
    "MultiScaleInputProcessor": "polyscale.blocks.multiscale_input",
    "enable_gradient_checkpointing": "polyscale.blocks.checkpointing",
    "AttentionFusion": "polyscale.blocks.fusion",
    "FeatureFusion": "polyscale.blocks.fusion",
    "ScaleFusion": "polyscale.blocks.fusion",
    "MultiScaleModel": "polyscale.blocks.multiscale",
    "MultiScalePooling": "polyscale.blocks.pooling",
    "PyramidPooling": "polyscale.blocks.pooling",
    "SpatialPyramidPooling": "polyscale.blocks.pooling",
    "PyramidNetwork": "polyscale.blocks.pyramid",
    "MultiScaleTransform": "polyscale.blocks.transforms",
    "PyramidDownsample": "polyscale.blocks.transforms",
    "Rescale": "polyscale.blocks.transforms",
    "UNet": "polyscale.blocks.unet",
}

__all__ = list(_EXPORTS)
__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
