"""A plain U-Net with dropout, for few training patches.

U-Net: https://doi.org/10.1007/978-3-319-24574-4_28. Whole channels are dropped, because
neighbouring pixels of a feature map tell the same: https://doi.org/10.1109/CVPR.2015.7298664.
"""

from __future__ import annotations

import torch
from torch import nn

# Channels of the encoder's levels; each level halves the image.
_WIDTHS = (32, 64, 128, 256, 512)


class UnetDropout(nn.Module):
    """U-Net of five levels with batch normalisation, and dropout after each level.

    Parameters
    ----------
    in_channels
        Bands of the input.
    out_channels
        Channels of the output.
    dropout_rate
        Share of a level's channels that a training step drops, 0 to below 1.

    Examples
    --------
    >>> UnetDropout(4, 2)(torch.zeros(2, 4, 32, 48)).shape
    torch.Size([2, 2, 32, 48])
    """

    stride = 2 ** (len(_WIDTHS) - 1)
    """Height and width of an image are to be multiples of it, in pixels."""

    def __init__(self, in_channels: int, out_channels: int, dropout_rate: float = 0.3) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            _level(before, width, dropout_rate)
            for before, width in zip((in_channels, *_WIDTHS), _WIDTHS, strict=False)
        )
        ascending = list(zip(_WIDTHS[:0:-1], _WIDTHS[-2::-1], strict=True))
        self.raising = nn.ModuleList(
            nn.ConvTranspose2d(below, width, 2, stride=2) for below, width in ascending
        )
        self.decoder = nn.ModuleList(
            _level(2 * width, width, dropout_rate) for _, width in ascending
        )
        self.segmentation_head = nn.Conv2d(_WIDTHS[0], out_channels, 1)
        self.halve = nn.MaxPool2d(2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Turn images ``(N, band, y, x)`` into logits ``(N, channel, y, x)``."""
        features = []
        for number, level in enumerate(self.encoder):
            image = level(self.halve(image) if number else image)
            features.append(image)
        image = features.pop()
        for raise_, level in zip(self.raising, self.decoder, strict=True):
            image = level(torch.cat([raise_(image), features.pop()], 1))
        logits: torch.Tensor = self.segmentation_head(image)
        return logits


def _level(before: int, width: int, dropout_rate: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, width):
        # The normalisation has an offset of its own
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Dropout2d(dropout_rate))
