"""The command ``seg4eo-xr``: the public functions, their options from the same dataclasses."""

from __future__ import annotations

from seg4eo_xr.cli.directory import COMMANDS
from seg4eo_xr.cli.main import main

__all__ = ["COMMANDS", "main"]
