"""SwinIR-light: attention in shifted windows, the reference of today's efficient attention networks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_lab.base.words import counted
from sr_lab.networks.base import Network
from sr_lab.networks.blocks import conv
from sr_lab.networks.padding import cut, pad_to_multiple


def to_windows(features: Tensor, window: int) -> Tensor:
    """(B, H, W, C), sizes multiples of ``window`` -> (B, num_windows, window * window, C), row by row."""
    batch, height, width, channels = features.shape
    grid = features.reshape(batch, height // window, window, width // window, window, channels)
    return grid.transpose(2, 3).reshape(batch, (height // window) * (width // window), window * window, channels)


def from_windows(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """The inverse of ``to_windows``: (B, num_windows, window * window, C) -> (B, H, W, C)."""
    batch, channels = windows.shape[0], windows.shape[-1]
    grid = windows.reshape(batch, height // window, width // window, window, window, channels)
    return grid.transpose(2, 3).reshape(batch, height, width, channels)


def shift_mask(height: int, width: int, window: int, shift: int, *, device: torch.device) -> Tensor:
    """Pairs of pixels that a shifted window brings together but that are no neighbours in the image.

    Returns:
        (num_windows, window * window, window * window) bool; True where attention is allowed.
    """
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    row_region = (rows >= height - window).int() + (rows >= height - shift)
    column_region = (columns >= width - window).int() + (columns >= width - shift)
    regions = (row_region[:, None] * 3 + column_region[None, :])[None, :, :, None]
    labels = to_windows(regions, window)[0, :, :, 0]
    return labels[:, :, None] == labels[:, None, :]


class WindowAttention(nn.Module):
    """Multi-head attention inside windows with a learned bias for each relative position (Swin, equation 4)."""

    index: Tensor

    def __init__(self, *, channels: int, window: int, num_heads: int) -> None:
        super().__init__()
        self.window, self.num_heads = window, num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        position = torch.arange(window * window)
        rows, columns = position // window, position % window
        row_offset = rows[:, None] - rows[None, :] + window - 1
        column_offset = columns[:, None] - columns[None, :] + window - 1
        self.register_buffer("index", row_offset * (2 * window - 1) + column_offset, persistent=False)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, T, C) windows of T pixels, (N, T, T) mask -> (B, N, T, C).

        Windows and heads share one axis, so that one (N * heads, T, T) bias serves every image of the batch.
        """
        batch, count, tokens, channels = windows.shape
        heads = self.qkv(windows).reshape(batch, count, tokens, 3, self.num_heads, channels // self.num_heads)
        query, key, value = heads.permute(3, 0, 1, 4, 2, 5).flatten(2, 3).unbind(0)
        bias = self.bias_table[self.index].permute(2, 0, 1).to(query.dtype).expand(count, -1, -1, -1)
        if mask is not None:
            bias = bias.masked_fill(~mask[:, None], -100.0)
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias.flatten(0, 1))
        out = (
            out.reshape(batch, count, self.num_heads, tokens, -1)
            .transpose(2, 3)
            .reshape(batch, count, tokens, channels)
        )
        attended: Tensor = self.proj(out)
        return attended


class SwinLayer(nn.Module):
    """Window attention and a two-layer perceptron, each behind a layer norm and with a skip (Swin, figure 3b)."""

    def __init__(self, *, channels: int, window: int, num_heads: int, mlp_ratio: float, shifted: bool) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels=channels, window=window, num_heads=num_heads)
        self.norm2 = nn.LayerNorm(channels)
        hidden = int(channels * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, H, W, C), sizes multiples of the window -> the same shape; ``mask`` is for shifted windows."""
        height, width = features.shape[1:3]
        moved = self.norm1(features)
        if self.shift:
            moved = moved.roll((-self.shift, -self.shift), dims=(1, 2))
        attended = self.attention(to_windows(moved, self.window), mask if self.shift else None)
        moved = from_windows(attended, self.window, height, width)
        if self.shift:
            moved = moved.roll((self.shift, self.shift), dims=(1, 2))
        features = features + moved
        out: Tensor = features + self.mlp(self.norm2(features))
        return out


class SwinGroup(nn.Module):
    """Residual Swin transformer block: layers, windows shifted in every second, then a convolution (RSTB)."""

    def __init__(self, *, channels: int, num_layers: int, window: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for index in range(num_layers):
            shape = {"channels": channels, "window": window, "num_heads": num_heads}
            self.layers.append(SwinLayer(mlp_ratio=mlp_ratio, shifted=index % 2 == 1, **shape))
        self.conv = conv(channels, channels)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        inner = features
        for layer in self.layers:
            inner = layer(inner, mask)
        out: Tensor = features + self.conv(inner.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return out


class SwinIR(Network):
    """SwinIR in its lightweight form (Liang et al. 2021, arXiv:2108.10257): one pixel shuffle at the end.

    The default has 910,152 / 918,267 / 929,628 parameters at x2 / x3 / x4. The paper's 878K / 886K / 897K leave out
    the 24 tables of relative position biases (32,400 values), as counters of layers do. The authors' stochastic
    depth (0.1) is left out: it does not pay at this size.

    Args:
        scale: Enlargement factor, any.
        num_channels: Number of channels of the images.
        num_features: Number of channels inside, a multiple of ``num_heads``.
        num_groups: Number of residual groups.
        num_layers: Number of attention layers of each group.
        num_heads: Number of attention heads.
        window: Side of a window in pixels; sizes that are no multiple of it are padded by reflection.
        mlp_ratio: Width of the perceptron's hidden layer, in multiples of ``num_features``.
        mean: Colour that is subtracted, one value a channel, in [0, 1]; None takes the published mean of DIV2K for RGB
            and 0 for any other number of channels, as the authors do.
    """

    mean: Tensor

    def __init__(
        self,
        *,
        scale: int,
        num_channels: int = 3,
        num_features: int = 60,
        num_groups: int = 4,
        num_layers: int = 6,
        num_heads: int = 6,
        window: int = 8,
        mlp_ratio: float = 2.0,
        mean: Sequence[float] | None = None,
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        if num_features % num_heads:
            raise ValueError(f"num_features={num_features} is not a multiple of num_heads={num_heads}")
        if mean is None:
            mean = (0.4488, 0.4371, 0.4040) if num_channels == 3 else (0.0,) * num_channels
        if len(mean) != num_channels:
            raise ValueError(
                f"mean has {counted(len(mean), 'value')} for num_channels={num_channels}: give one a channel"
            )
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.window = self.stride = window
        self.head = conv(num_channels, num_features)
        self.norm_in = nn.LayerNorm(num_features)
        self.groups = nn.ModuleList()
        for _ in range(num_groups):
            layer = {"channels": num_features, "window": window, "num_heads": num_heads}
            self.groups.append(SwinGroup(num_layers=num_layers, mlp_ratio=mlp_ratio, **layer))
        self.norm_out = nn.LayerNorm(num_features)
        self.trunk = conv(num_features, num_features)
        self.upsampler = nn.Sequential(conv(num_features, num_channels * scale**2), nn.PixelShuffle(scale))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        height, width = low.shape[-2:]
        shallow = self.head(pad_to_multiple(low, self.window) - self.mean)
        tall, wide = shallow.shape[-2:]
        mask = shift_mask(tall, wide, self.window, self.window // 2, device=low.device)
        features = self.norm_in(shallow.permute(0, 2, 3, 1))
        for group in self.groups:
            features = group(features, mask)
        features = self.norm_out(features).permute(0, 3, 1, 2)
        restored: Tensor = self.upsampler(self.trunk(features) + shallow) + self.mean
        return cut(restored, height * self.scale, width * self.scale)
