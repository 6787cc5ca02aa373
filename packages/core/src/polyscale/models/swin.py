"""timm's Swin blocks with less to do at inference.

timm fills the map with zeros up to whole windows, and computes queries, keys, values and the projection for the
filling too: at 384 x 512 a quarter of the third stage's tokens and more than half of the last one's. It shifts, fills,
cuts, splits into heads and puts together again in up to ten copies of the map. Here the linear layers see the tokens of
the image and one zero token that stands for all of the filling, and one gather each way does the copies. The values
are timm's up to rounding; `tools/bench/iqa_speed.py speed` measures what it brings.
"""

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

_APART = -100.0  # timm's, added to the score of two tokens that only the cyclic shift made neighbours


class TightSwinBlock(SwinTransformerBlock):
    """A SwinTransformerBlock (same parameters, same values) that is quicker in eval mode while gradients are off."""

    def _attn(self, x: Tensor) -> Tensor:
        """Normed map [B, H, W, C] -> what window attention adds to it [B, H, W, C]."""
        # attention dropout is timm's; the backward pass of a gather is slow, and on CUDA of no fixed order
        if self.training or torch.is_grad_enabled():
            attended: Tensor = super()._attn(x)
            return attended
        attn, (batch, height, width, channels) = self.attn, x.shape
        tokens = torch.cat((x.new_zeros(1, channels), x.reshape(-1, channels)))
        places = self._places(batch, height, width, x.device)
        q, k, v = _heads(attn.qkv(tokens), places, attn.num_heads)
        mixed = self._weights(q, k, places.shape[:3]).to(v.dtype) @ v
        rows = self._rows(batch, height, width, x.device)
        whole = mixed.view(-1, mixed.shape[-1]).index_select(0, rows.view(-1))  # x[rows] takes five times as long
        return attn.proj_drop(attn.proj(whole.view(batch, height, width, -1)))

    def _weights(self, q: Tensor, k: Tensor, windows: torch.Size) -> Tensor:
        """[windows * heads, n, d] twice -> what each token of a window takes of each other, [windows * heads, n, n]."""
        bias = self.attn._get_rel_pos_bias()
        products = torch.bmm(q, k.transpose(1, 2)).to(bias.dtype)
        scores = torch.add(bias, products.view(-1, *bias.shape[1:]), alpha=self.attn.scale)
        if any(self.shift_size):
            by_window = scores.view(*windows, *bias.shape[1:])
            by_window[:, -1] += self._apart(0, bias)
            by_window[:, :, -1] += self._apart(1, bias)
        return scores.softmax(dim=-1).view_as(products)

    def _apart(self, side: int, like: Tensor) -> Tensor:
        """[n, n], for the last windows along one side: what keeps tokens from both ends of the image apart."""
        rows, columns = self.window_size
        length, shift = self.window_size[side], self.shift_size[side]
        wrapped = torch.arange(length, device=like.device) >= length - shift
        wrapped = (wrapped[:, None] if side == 0 else wrapped).expand(rows, columns).reshape(-1)
        return (wrapped[:, None] != wrapped).to(like.dtype) * _APART

    def _places(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        """[B, rows of windows, columns of windows, n]: the token at every place, counted from 1; 0 is the filling."""
        (high, wide), (down, right) = self.window_size, self.shift_size
        token = torch.arange(1, batch * height * width + 1, device=device).view(batch, height, width)
        token = token.roll((-down, -right), dims=(1, 2))
        below, beside = _whole(height, high) - height, _whole(width, wide) - width
        token = F.pad(token, (0, beside, 0, below))
        return token.unflatten(2, (-1, wide)).unflatten(1, (-1, high)).transpose(2, 3).flatten(3)

    def _rows(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        """[B, H, W, heads]: where, among the rows of [windows, heads, n], every token's heads are."""
        (high, wide), (down, right) = self.window_size, self.shift_size
        whole_height, whole_width, heads = _whole(height, high), _whole(width, wide), self.attn.num_heads
        row = torch.arange(batch * whole_height * whole_width * heads, device=device)
        row = row.view(batch, whole_height // high, whole_width // wide, heads, high, wide).permute(0, 1, 4, 2, 5, 3)
        row = row.reshape(batch, whole_height, whole_width, heads)
        return row[:, :height, :width].roll((down, right), dims=(1, 2))


def tighten(net: nn.Module) -> nn.Module:
    """Make every Swin block of a timm network a `TightSwinBlock`, in place; names and parameters stay."""
    for module in net.modules():
        if type(module) is SwinTransformerBlock:
            module.__class__ = TightSwinBlock
    return net


def _heads(qkv: Tensor, places: Tensor, heads: int) -> tuple[Tensor, ...]:
    """[tokens, 3 * heads * d] at [..., n] -> q, k and v, each [windows * heads, n, d], in one gather."""
    n = places.shape[-1]
    part = torch.arange(3 * heads, device=qkv.device).view(3, 1, heads, 1)
    rows = places.reshape(1, -1, 1, n) * (3 * heads) + part
    gathered = qkv.view(-1, qkv.shape[-1] // (3 * heads)).index_select(0, rows.view(-1))
    return gathered.view(3, -1, n, gathered.shape[-1]).unbind(0)


def _whole(length: int, window: int) -> int:
    """The length filled up to whole windows."""
    return (length + window - 1) // window * window
