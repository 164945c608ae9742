"""Any patch size for networks that halve their input again and again."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

_PREFIX = "network."


class Padded(nn.Module):
    """A network that takes images of any size: mirrored to a size that suits it, and cropped after.

    Its weights bear the names that they bear in the bare network, so checkpoints tell nothing of
    the padding.

    Parameters
    ----------
    network
        Turns ``(N, band, y, x)`` into ``(N, channel, y, x)``.
    multiple
        Height and width that `network` takes are multiples of it, in pixels.
    smallest
        The smallest height and width that `network` takes, in pixels.

    Examples
    --------
    >>> halves = nn.Sequential(nn.MaxPool2d(2), nn.Upsample(scale_factor=2))
    >>> Padded(halves, 2)(torch.zeros(1, 3, 7, 10)).shape
    torch.Size([1, 3, 7, 10])
    """

    def __init__(self, network: nn.Module, multiple: int, smallest: int = 1) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple
        self.smallest = smallest
        self.register_state_dict_post_hook(_drop_prefix)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_add_prefix)  # type: ignore[no-untyped-call]

    @property
    def encoder(self) -> nn.Module:
        """The part that pretrained weights and freezing are about."""
        part = self.network.encoder
        assert isinstance(part, nn.Module)
        return part

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Turn images ``(N, band, y, x)`` of any size into logits of that size."""
        height, width = image.shape[-2:]
        top, bottom = self._margins(height)
        left, right = self._margins(width)
        if top + bottom + left + right == 0:
            answer: torch.Tensor = self.network(image)
            return answer
        rows = _mirrored(height, top, bottom, image.device)
        columns = _mirrored(width, left, right, image.device)
        answer = self.network(image.index_select(-2, rows).index_select(-1, columns))
        return answer[..., top : top + height, left : left + width]

    def _margins(self, side: int) -> tuple[int, int]:
        wanted = max(side, self.smallest)
        lacking = -(-wanted // self.multiple) * self.multiple - side
        return lacking // 2, lacking - lacking // 2


def _mirrored(side: int, before: int, after: int, device: torch.device) -> torch.Tensor:
    # NumPy mirrors more than once where the margin is wider than the image; torch refuses
    return torch.from_numpy(np.pad(np.arange(side), (before, after), "reflect")).to(device)


def _drop_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    _rename(state, prefix + _PREFIX, prefix)


def _add_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    _rename(state, prefix, prefix + _PREFIX)


def _rename(state: dict[str, Any], before: str, after: str) -> None:
    """Give all entries under one prefix another, in place and in their order."""
    for name in [name for name in state if name.startswith(before)]:
        state[after + name.removeprefix(before)] = state.pop(name)
