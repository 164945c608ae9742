"""What the commands share."""

from __future__ import annotations

from typing import Protocol

from tyro.conf import FlagCreatePairsOff

Flag = FlagCreatePairsOff[bool]


class Command(Protocol):
    """A subcommand: its options are its fields."""

    def run(self) -> None:
        """Do the work and say what was made.

        Raises
        ------
        PartlyFailedError
            If a part of the work failed and the rest is done.
        """


class PartlyFailedError(Exception):
    """Some of the work failed; the message lists what."""


def one_or_many(paths: tuple[str, ...]) -> str | list[str]:
    """Return a single path as such, several as a list."""
    return paths[0] if len(paths) == 1 else list(paths)
