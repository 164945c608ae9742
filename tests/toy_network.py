"""A network so small that whatever needs a real one is done in no time."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


class TinyNetwork(torch.nn.Module):
    """All that could tell a resumed training from one that ran through: dropout and statistics."""

    def __init__(self, bands: int = 10, outputs: int = 6, *, random: bool = True) -> None:
        super().__init__()
        norm = torch.nn.BatchNorm2d(8) if random else torch.nn.GroupNorm(2, 8)
        dropout = torch.nn.Dropout(0.3 if random else 0.0)
        layers = torch.nn.Conv2d(bands, 8, 3, padding=1), norm, torch.nn.ReLU(), dropout
        self.encoder = torch.nn.Sequential(*layers)
        self.head = torch.nn.Conv2d(8, outputs, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.encoder(image))
        return logits


@contextmanager
def tiny_network(*more: str, random: bool = True) -> Iterator[None]:
    """Let checkpoints, and `more` places that import ``build_model``, build a tiny network."""

    def build(spec: Any, **_: Any) -> TinyNetwork:
        return TinyNetwork(spec.in_channels, spec.out_channels, random=random)

    with ExitStack() as stack:
        for place in ("seg4eo_xr.models.checkpoint", *more):
            stack.enter_context(mock.patch(f"{place}.build_model", build))
        yield
