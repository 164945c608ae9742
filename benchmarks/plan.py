"""Plans: the time that `plan` tells beforehand, by the time that the run then takes.

Each round of each case runs in a process of its own, plan and run one after the other, so that
both see the same minutes of the machine.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from harness import argument_parser, emit, measure
from plan_cases import CASES
from predict import default_precision
from predict_setup import Setup

if TYPE_CHECKING:
    import argparse

_CASES_SCRIPT = Path(__file__).with_name("plan_cases.py")


def main() -> None:
    arguments = parse_arguments()
    size = arguments.size or (768 if arguments.quick else 6144)
    window, encoder = (256, "resnet18") if arguments.quick else (512, "resnet34")
    repeats = arguments.repeats or (1 if arguments.quick else 3)
    emit("plan", "machine", "cores", os.cpu_count() or 1, "1")
    emit("plan", "machine", "rounds", repeats, "1")
    emit("plan", f"unet/{encoder}", "size", size, "px")
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(folder, size, window, encoder, default_precision())
        measure(_CASES_SCRIPT, setup, "prepare")
        names = [name for name in CASES if name != "prepare"]
        rounds = {
            name: [measure(_CASES_SCRIPT, setup, name).seconds for _ in range(repeats)]
            for name in names
        }
    for name, times in rounds.items():
        for what in ("planned", "taken"):
            emit("plan", name, what, median(one[what] for one in times), "s")
    for name, times in rounds.items():
        ratios = [one["planned"] / one["taken"] for one in times]
        emit("plan", name, "planned/taken", median(ratios), "1")


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--size", type=int, help="side of the scene in pixels")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
