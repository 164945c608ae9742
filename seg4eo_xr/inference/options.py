"""The options of a prediction, for the Python API and the command line alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from seg4eo_xr.geometry.blending import TaperKind
from seg4eo_xr.inference.layers import LayerName, ProbabilityType
from seg4eo_xr.options import OptionSet, require_choice

Precision = Literal["float32", "bfloat16", "float16"]
PrecisionChoice = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class PredictOptions(OptionSet):
    """How a scene is predicted."""

    patch_size: int | None = None
    """Side of a window, in pixels; the side of the training patches if not given."""
    overlap: int | None = None
    """Pixels that neighbouring windows share; a quarter of the window if not given."""
    blending: TaperKind = "hann"
    """How a window's weight falls towards its edges."""
    batch_size: int | None = None
    """Windows a forward pass; 1 on a processor and 16 on an accelerator if not given."""
    windows_per_chunk: int | None = None
    """Windows along a side of a chunk; if not given, 4 on an accelerator, as many of 2 to 4 as fit
    into 1024 px on a processor, and fewer where a scene is too small to keep all cores busy so. It
    changes memory and speed, and not a bit of the result."""
    threshold: float = 0.5
    """Probability from which a binary model's pixel belongs to the second class."""
    layers: tuple[LayerName, ...] = ("classes", "confidence")
    """What the map holds; layers of one map share the windows. Beside the classes and their
    confidence: probabilities, entropy, margin, disagreement (of the windows that overlap) and
    view_disagreement (of the eight pictures that tta averages)."""
    probability_dtype: ProbabilityType = "float32"
    """How the layer of probabilities is stored; uint8 in steps of 1/254."""
    precision: PrecisionChoice = "auto"
    """Number format of the forward pass; auto takes bfloat16 where the machine is fast at it, and
    float32 elsewhere and for checkpoints of SemanticSeg4EO."""
    compile: bool = False
    """Compile the network before it runs, which pays for scenes of some hundred windows and needs a
    C++ compiler on a processor."""
    tta: bool = False
    """Average the answers to the eight turned and mirrored pictures of each window, in eight times
    the time."""
    device: Device = "auto"
    """Where the network runs; auto takes an accelerator if there is one."""
    output_nodata: int | None = None
    """Code of missing pixels in the class layer; 255 if not given, 65535 where class codes need two
    bytes, and -32768 where some are negative."""

    def __post_init__(self) -> None:
        for name in ("patch_size", "batch_size", "windows_per_chunk"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        require_choice("blending", self.blending, get_args(TaperKind))
        require_choice("precision", self.precision, get_args(PrecisionChoice))
        require_choice("probability_dtype", self.probability_dtype, get_args(ProbabilityType))
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers must name one layer or several, each once, got {self.layers}")
        for layer in self.layers:
            require_choice("layers", layer, get_args(LayerName))
        if "view_disagreement" in self.layers and not self.tta:
            raise ValueError(
                "layers has 'view_disagreement', but without test-time augmentation there is one "
                "view of each window; set tta=True (--tta), or ask for 'disagreement', which is "
                "that of overlapping windows"
            )
        require_choice("device", self.device, get_args(Device))
