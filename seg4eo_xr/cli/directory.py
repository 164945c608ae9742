"""Which commands there are, by the stage of work that they belong to."""

from __future__ import annotations

from collections.abc import Mapping

from seg4eo_xr.cli.calibrating import Calibrate, CheckConfidence
from seg4eo_xr.cli.command import Command
from seg4eo_xr.cli.extracting import ExtractBatch, ExtractSingle
from seg4eo_xr.cli.judging import Change, Evaluate
from seg4eo_xr.cli.modelling import Completion, Demo, Models
from seg4eo_xr.cli.planning import Plan
from seg4eo_xr.cli.predicting import Predict
from seg4eo_xr.cli.publishing import Publish, Statistics
from seg4eo_xr.cli.sampling import Areas, Sample
from seg4eo_xr.cli.stores import Export, Import, Info, Visualize
from seg4eo_xr.cli.training import CrossValidate, Train
from seg4eo_xr.cli.vectorising import Polygonize, Postprocess

STAGES: Mapping[str, Mapping[str, type[Command]]] = {
    "Prepare patches": {
        "extract single": ExtractSingle,
        "extract batch": ExtractBatch,
        "info": Info,
        "visualize": Visualize,
        "import": Import,
        "export": Export,
    },
    "Train networks": {
        "models": Models,
        "train": Train,
        "cross-validate": CrossValidate,
        "calibrate": Calibrate,
    },
    "Make maps": {
        "plan": Plan,
        "predict": Predict,
        "postprocess": Postprocess,
        "polygonize": Polygonize,
        "publish": Publish,
    },
    "Judge maps": {
        "statistics": Statistics,
        "evaluate": Evaluate,
        "reliability": CheckConfidence,
        "change": Change,
        "sample": Sample,
        "areas": Areas,
    },
    "Get started": {
        "demo": Demo,
        "completion": Completion,
    },
}
"""Commands by stage, in the order of the work."""

COMMANDS: dict[str, type[Command]] = {
    name: command for stage in STAGES.values() for name, command in stage.items()
}
"""Commands by the words that call them."""
