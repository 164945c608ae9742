"""An epoch of training, against a bare loop over batches that are in memory already.

Ours counts all that an epoch costs: reading, steps, validation, scores, log and checkpoints; the
bare loop steps and validates. Each case runs in a process of its own, and all cases of one round
run one after the other, so that ratios compare times of the same minutes.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from harness import argument_parser, emit, run_in_child
from train_step_cases import CASES, Setup

if TYPE_CHECKING:
    import argparse

_CASES_SCRIPT = Path(__file__).with_name("train_step_cases.py")


def measure(setup: Setup, case: str) -> dict[str, float]:
    """Run one case in a process of its own; return seconds an epoch."""
    seconds: dict[str, float] = run_in_child(_CASES_SCRIPT, [case, json.dumps(asdict(setup))])[
        "seconds"
    ]
    return seconds


def main() -> None:
    arguments = parse_arguments()
    repeats = arguments.repeats or (1 if arguments.quick else 3)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.quick:
            setup = Setup(folder, 64, 64, batch_size=8, encoder="resnet18", epochs=1)
        else:
            setup = Setup(folder, 144, 128, batch_size=12, encoder="resnet18", epochs=1)
        compare(setup, repeats)


def compare(setup: Setup, repeats: int) -> None:
    """Measure the cases in rounds and print what came out."""
    describe(setup, repeats)
    measure(setup, "prepare")
    cases = [case for case in CASES if case != "prepare"]
    rounds = [{case: measure(setup, case) for case in cases} for _ in range(repeats)]
    seconds = {case: [sum(each[case].values()) for each in rounds] for case in cases}
    for case in cases:
        (way,) = rounds[0][case]
        emit("train_step", f"{case}, {way}", "seconds", median(seconds[case]), "s")
    for case in cases:
        if case != "bare":
            pairs = zip(seconds[case], seconds["bare"], strict=True)
            emit("train_step", case, f"{case}/bare", median(a / b for a, b in pairs), "1")


def describe(setup: Setup, repeats: int) -> None:
    """Print what is measured on what."""
    what = f"unet/{setup.encoder}, float32"
    emit("train_step", what, "patches", setup.patches, "1")
    emit("train_step", what, "patch_size", setup.patch_size, "px")
    emit("train_step", what, "batch_size", setup.batch_size, "1")
    emit("train_step", what, "epochs", setup.epochs, "1")
    emit("train_step", "machine", "cores", os.cpu_count() or 1, "1")
    emit("train_step", "machine", "rounds", repeats, "1")


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    return parser.parse_args()


if __name__ == "__main__":
    main()
