"""Convolution, batch norm and ReLU: the unit that PyramidNetwork, UNet and PyramidPooling are made of."""

import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d that also trains on a single value per channel (batch 1 and a map of one pixel).

    torch raises there, for a single value has no variance; this one takes the running estimates, as in eval mode.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class ConvNormAct(nn.Sequential):
    """[B, in, H, W] -> [B, out, ceil(H / stride), ceil(W / stride)]: conv without bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False),
            BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )
