"""The network as it predicts: score and spread; what a Predictor runs and an ONNX file holds."""

from torch import Tensor, nn

from polyscale.inference.torch_network import Exportable


class ScoredImages(Exportable):
    """Images [B, 3, H, W] in [0, 1] -> score [B] and spread [B], float32, in the units of the MOS.

    Args:
        network: a QualityNet.
    """

    outputs = ("score", "spread")

    def __init__(self, network: nn.Module) -> None:
        about = {name: getattr(network, name) for name in ("low", "high", "input_size")}
        policy = "at most input_size squared pixels, aspect kept, bicubic, anti-aliased; never enlarged"
        super().__init__(network, {**about, "lower_better": False, "size_policy": policy})
        self.span = float(about["high"] - about["low"])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and spreads."""
        score, spread = self.network.score_with_spread(image)
        return score, spread
