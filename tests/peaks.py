"""Peak memory of work in a process of its own: the peak of a process never falls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_TESTS = Path(__file__).parent
_SHARED = (_TESTS, _TESTS.parent / "benchmarks")


def last_line_of_child(code: str, *arguments: object) -> str:
    """Run Python code, which may import what tests and benchmarks share, and return what it says.

    Parameters
    ----------
    code
        Source. It asks ``harness.peak_megabytes`` for its memory.
    *arguments
        Its ``sys.argv[1:]``.
    """
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, _SHARED))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]
