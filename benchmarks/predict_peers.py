"""Other ways of predicting a scene: two libraries' sliding windows, and scripts.

They hold the whole scene in memory, and so run on a corner of a large one; their seconds are then
scaled by the number of windows.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from harness import seconds_of
from predict_setup import CLASSES, STORED_BRIGHT, Setup

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch

# The largest corner, in pixels: scripts hold some 5 GB for it.
_CORNER = 4096


def monai(setup: Setup) -> dict[str, float]:
    """Predict with MONAI's inferer."""
    from monai.inferers.inferer import SlidingWindowInferer

    inferer = SlidingWindowInferer(
        roi_size=(setup.window, setup.window),
        sw_batch_size=4,
        overlap=setup.overlap / setup.window,
        mode="gaussian",
    )
    return _sliding(setup, lambda scene, network: inferer(scene[None], network)[0])


def terratorch(setup: Setup) -> dict[str, float]:
    """Predict with TerraTorch's tiled inference."""
    from terratorch.tasks.tiled_inference import tiled_inference

    def infer(scene: torch.Tensor, network: Callable[..., Any]) -> Any:
        return tiled_inference(
            network,
            scene[None],
            len(CLASSES),
            crop=setup.window,
            stride=setup.window - setup.overlap,
            delta=0,
            batch_size=4,
            padding=False,
        )[0]

    return _sliding(setup, infer)


def _sliding(setup: Setup, infer: Callable[..., Any]) -> dict[str, float]:
    """Time a library's way in the benchmark's precision, as it is and channels-last."""
    import torch

    corner = _corner(setup)
    dtype = getattr(torch, setup.precision)
    seconds = {}
    for way, memory_format in (
        ("as it is", torch.contiguous_format),
        ("channels last", torch.channels_last),
    ):
        network = _network(setup).to(memory_format=memory_format)

        def work(network: torch.nn.Module = network) -> None:
            lower = torch.autocast("cpu", dtype) if dtype != torch.float32 else nullcontext()
            with torch.inference_mode(), lower:
                scene = torch.from_numpy(_read_normalised(corner))
                _write_classes(corner, infer(scene, network).argmax(0).numpy())

        seconds[way] = seconds_of(work) * setup.windows / corner.windows
    return seconds


def scripts(setup: Setup) -> dict[str, float]:
    """Predict as scripts do: all windows in lists, one at a time through the network, float32."""
    import torch

    corner = _corner(setup)
    network = _network(setup)

    def work() -> None:
        scene = _read_normalised(corner)
        places = list(product(corner.starts, corner.starts))
        side = corner.window
        windows = [scene[:, y : y + side, x : x + side].copy() for y, x in places]
        answers = []
        with torch.no_grad():
            for window in windows:
                logits = network(torch.from_numpy(window)[None])
                answers.append(torch.softmax(logits, dim=1)[0].numpy())
        _write_classes(corner, _blended(corner, places, answers).argmax(0))

    return {"end to end": seconds_of(work) * setup.windows / corner.windows}


def _blended(setup: Setup, places: list[tuple[int, int]], answers: list[np.ndarray]) -> np.ndarray:
    import numpy as np

    profile = np.hanning(setup.window + 2)[1:-1].astype(np.float32)
    weight = profile[:, None] * profile
    sums = np.zeros((len(CLASSES), setup.size, setup.size), np.float32)
    weights = np.zeros((setup.size, setup.size), np.float32)
    for (y, x), answered in zip(places, answers, strict=True):
        place = (slice(y, y + setup.window), slice(x, x + setup.window))
        sums[:, *place] += answered * weight
        weights[place] += weight
    return sums / weights


def _corner(setup: Setup) -> Setup:
    return replace(setup, size=min(setup.size, _CORNER))


def _network(setup: Setup) -> torch.nn.Module:
    from seg4eo_xr.models.checkpoint import load_checkpoint

    return load_checkpoint(setup.path("network.pth")).build().eval()


def _read_normalised(setup: Setup) -> np.ndarray:
    import numpy as np
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(setup.path("scene.tif")) as file:
        stored = file.read(window=Window(0, 0, setup.size, setup.size))
    scene: np.ndarray = np.clip(stored.astype(np.float32) / STORED_BRIGHT, 0, 1)
    return scene


def _write_classes(setup: Setup, indices: np.ndarray) -> None:
    import rasterio

    with rasterio.open(setup.path("scene.tif")) as file:
        profile = {"crs": file.crs, "transform": file.transform, "driver": "GTiff"}
    shape = {"height": setup.size, "width": setup.size, "count": 1, "dtype": "uint8"}
    path = setup.path("theirs.tif")
    with rasterio.open(path, "w", **profile, **shape, tiled=True, compress="deflate") as file:
        file.write((indices + CLASSES[0]).astype("uint8"), 1)
