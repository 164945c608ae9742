"""Tiny networks with known answers, and the reference that every way of predicting has to equal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from seg4eo_xr.geometry.blending import overlap_add
from seg4eo_xr.geometry.windows import WindowAxis, chunk_spans
from seg4eo_xr.inference.layers import MapEncoding
from seg4eo_xr.inference.network import Network, turn_on
from seg4eo_xr.inference.window_runner import WindowRunner
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.conform import ValueCheck
from seg4eo_xr.scenes.contract import Contract, normalize, valid_mask
from seg4eo_xr.testing import plain_contract


class PlaceAware(torch.nn.Module):
    """Logits that depend on the window's content and on the place in it: seams would show."""

    def __init__(self, bands: int, classes: int, side: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(bands * 100 + classes)
        self.mix = torch.nn.Parameter(torch.randn(classes, bands, generator=generator) * 3)
        self.context = torch.nn.Parameter(torch.randn(classes, bands, generator=generator))
        place = torch.linspace(-1, 1, side).abs()
        self.register_buffer("place", 1 + place[:, None] * place)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.windows = getattr(self, "windows", 0) + len(batch)
        local = torch.einsum("cb,nbyx->ncyx", self.mix, batch)
        mean = torch.einsum("cb,nb->nc", self.context, batch.mean((2, 3)))
        return local + mean[:, :, None, None] * self.place


class Constant(torch.nn.Module):
    """The same logits everywhere."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.register_buffer("logits", torch.tensor(logits))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        size = (len(batch), len(self.logits), *batch.shape[2:])
        return self.logits[None, :, None, None].expand(size)


@dataclass
class Setup:
    """One prediction, before it is cut into chunks."""

    scene: np.ndarray
    network: Network
    contract: Contract
    encoding: MapEncoding
    axes: tuple[WindowAxis, WindowAxis]
    blending: str
    batch_size: int

    def runner(self, windows_per_chunk: tuple[int, int]) -> WindowRunner:
        spans = tuple(
            chunk_spans(axis, axis.windows_per_chunk(wanted))
            for axis, wanted in zip(self.axes, windows_per_chunk, strict=True)
        )
        return WindowRunner(
            network=self.network,
            contract=self.contract,
            encoding=self.encoding,
            spans=spans,
            blending=self.blending,
            batch_size=self.batch_size,
            check=ValueCheck(self.contract),
        )

    def reference(self) -> dict[str, np.ndarray]:
        """The whole image in one loop, from the same network in the same batches."""

        def probabilities(window: np.ndarray) -> np.ndarray:
            batch = torch.zeros((self.batch_size, *window.shape))
            batch = batch.contiguous(memory_format=torch.channels_last)
            batch[0] = normalize(torch.from_numpy(window), self.contract)
            with turn_on("cpu"):
                return self.network.probabilities(batch)[0].numpy()

        sums = overlap_add(self.scene, probabilities, self.axes, self.blending)
        layers = self.encoding.finalise(torch.from_numpy(sums))
        rule = self.contract.nodata_rule
        self.encoding.mark_missing(layers, valid_mask(self.scene, self.contract.nodata, rule))
        return layers


def make_setup(
    shape: tuple[int, int],
    window: tuple[int, int],
    overlap: tuple[int, int],
    *,
    classes: int = 3,
    missing: float = 0.0,
    blending: str = "hann",
    batch_size: int = 2,
    layers: tuple[str, ...] = ("classes", "confidence", "probabilities"),
    seed: int = 0,
    tta: bool = False,
    temperature: float = 1.0,
) -> Setup:
    random = np.random.default_rng(seed)
    bands = 2
    scene = random.integers(1, 1000, (bands, *shape)).astype(np.uint16)
    if missing:
        height, width = (max(1, round(side * missing)) for side in shape)
        scene[:, :height, :width] = 0
        scene[0, random.integers(shape[0]), random.integers(shape[1])] = 0
    table = ClassTable.from_codes([10, 20, 30][: max(2, classes)])
    contract = plain_contract(["red", "nir"], table, bright=900.0, maximum=(1000.0, 1000.0))
    binary = classes == 1
    encoding = MapEncoding(contract.classes.codes, 0.5 if binary else None, 255, layers)
    network = PlaceAware(bands, classes, window[1])
    if window[0] != window[1]:
        network.place = torch.ones(window)
    axes = tuple(map(WindowAxis, shape, window, overlap))
    token = f"toy-{classes}-{window}"
    frozen = Network(
        network,
        token=token,
        binary=binary,
        device="cpu",
        tta=tta,
        temperature=temperature,
        measures=encoding.measures,
    )
    return Setup(scene, frozen, contract, encoding, axes, blending, batch_size)
