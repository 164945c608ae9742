"""How far a map in a lower precision, or of a compiled network, is from the plain float32 one.

The network is that of the demo: trained on the west of a generated scene, it maps the east. Printed
are the share of pixels with the same class, the mean IoU of each map, and seconds, which hold the
compiling too.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness import argument_parser, emit, seconds_of

import seg4eo_xr as seg
from seg4eo_xr.demo import TRAINING_COLUMNS

if TYPE_CHECKING:
    import numpy as np

WAYS = {
    "float32": {"precision": "float32"},
    "bfloat16": {"precision": "bfloat16"},
    "float32, compiled": {"precision": "float32", "compile": True},
    "bfloat16, compiled": {"precision": "bfloat16", "compile": True},
}


def main() -> None:
    arguments = argument_parser(__doc__).parse_args()
    ways = list(WAYS)[: 2 if arguments.quick else None]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "demo")
        trained = seg.run_demo(folder, seed=0, progress=False)
        emit("precision", "network", "miou", trained.evaluation.miou, "1")
        compare(folder, ways)


def compare(folder: Path, ways: list[str]) -> None:
    """Map the east in each way and print how the maps agree with the first."""
    unseen = {"x": slice(TRAINING_COLUMNS, None)}
    scene = seg.open_scene(folder / "scene.tif").isel(unseen)
    labels = seg.open_labels(folder / "labels.tif", like=seg.open_scene(folder / "scene.tif"))
    classes: dict[str, np.ndarray] = {}
    for way in ways:
        target = folder / f"{way}.tif"
        model = folder / "run" / "model_best_iou.pth"
        prediction = seg.predict(scene, model, device="cpu", **WAYS[way])
        seconds = seconds_of(partial(seg.write_cog, prediction, target))
        emit("precision", way, "seconds", seconds, "s")
        written = seg.open_map(target)
        emit("precision", way, "miou", seg.evaluate(written, labels.isel(unseen)).miou, "1")
        classes[way] = written["classes"].values
    for way in ways[1:]:
        share = float((classes[way] == classes[ways[0]]).mean())
        emit("precision", way, f"agreement with {ways[0]}", share, "1")


if __name__ == "__main__":
    main()
