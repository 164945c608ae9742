"""Torchvision's DeepLabV3 with ResNet-50, for any number of bands."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models.segmentation import DeepLabV3, deeplabv3_resnet50


class DeepLabV3ResNet50(DeepLabV3):  # type: ignore[misc]
    """DeepLabV3 on a dilated ResNet-50 (https://arxiv.org/abs/1706.05587), weights at random.

    Parameters
    ----------
    in_channels
        Bands of the input.
    out_channels
        Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        made = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=out_channels)
        super().__init__(made.backbone, made.classifier)
        if in_channels != 3:
            stem = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
            self.backbone.conv1 = stem

    @property
    def encoder(self) -> nn.Module:
        """The part that pretrained weights and freezing are about."""
        part: nn.Module = self.backbone
        return part

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Turn images ``(N, band, y, x)`` into logits ``(N, channel, y, x)``."""
        logits: torch.Tensor = super().forward(image)["out"]
        return logits
