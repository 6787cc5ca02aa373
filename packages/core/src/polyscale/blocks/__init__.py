"""Blocks: torch only, usable alone. A block's file is imported when its name is first used."""

from polyscale._lazy import lazy_exports

_EXPORTS: dict[str, str] = {
    "MultiScaleSpatialAttention": "polyscale.blocks.attention",
    "ScaleAwareChannelAttention": "polyscale.blocks.attention",
    "enable_gradient_checkpointing": "polyscale.blocks.checkpointing",
    "MultiScaleDeformableAttention": "polyscale.blocks.deformable",
    "deformable_sample": "polyscale.blocks.deformable",
    "flatten_levels": "polyscale.blocks.deformable",
    "reference_grid": "polyscale.blocks.deformable",
    "FPN": "polyscale.blocks.fpn",
    "PAFPN": "polyscale.blocks.fpn",
    "SimpleFeaturePyramid": "polyscale.blocks.fpn",
    "AttentionFusion": "polyscale.blocks.fusion",
    "FeatureFusion": "polyscale.blocks.fusion",
    "ScaleFusion": "polyscale.blocks.fusion",
    "AttentionBasedScaleIntegrationUnit": "polyscale.blocks.integration",
    "HierarchicalScaleIntegration": "polyscale.blocks.integration",
    "MultiScaleModel": "polyscale.blocks.multiscale",
    "MultiScaleInputProcessor": "polyscale.blocks.multiscale_input",
    "ScalePredictionHead": "polyscale.blocks.multiscale_input",
    "MultiScalePooling": "polyscale.blocks.pooling",
    "PyramidPooling": "polyscale.blocks.pooling",
    "SpatialPyramidPooling": "polyscale.blocks.pooling",
    "PyramidNetwork": "polyscale.blocks.pyramid",
    "MultiScaleInputGenerator": "polyscale.blocks.scales",
    "match_size": "polyscale.blocks.scales",
    "EventTemporalAttention": "polyscale.blocks.temporal",
    "SmallObjectAttentionModule": "polyscale.blocks.temporal",
    "MultiScaleTransform": "polyscale.blocks.transforms",
    "PyramidDownsample": "polyscale.blocks.transforms",
    "Rescale": "polyscale.blocks.transforms",
    "UNet": "polyscale.blocks.unet",
}

__all__ = list(_EXPORTS)
__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
