"""What the commands share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Told:
    """What a command has to say when it is done.

    Parameters
    ----------
    text
        For people.
    data
        The same for machines: plain values, fit for JSON.
    """

    text: str
    data: Mapping[str, Any] = field(default_factory=dict)


class Command(ABC):
    """A subcommand: its options are its fields, and those of the dataclasses among them."""

    FIRST_WORD: ClassVar[str | None] = None
    """Option whose name may be left out where it comes first."""

    @classmethod
    def completed(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Values of the options that are given, with those that follow from them."""
        return values

    @abstractmethod
    def run(self, *, progress: bool) -> Told:
        """Do the work and say what was made.

        Parameters
        ----------
        progress
            Whether to show bars on standard error.

        Raises
        ------
        PartlyFailedError
            If a part of the work failed and the rest is done.
        """


class PartlyFailedError(Exception):
    """Some of the work failed.

    Parameters
    ----------
    message
        What failed.
    told
        What was made all the same.
    """

    def __init__(self, message: str, told: Told | None = None) -> None:
        super().__init__(message)
        self.told = told


class UsageError(ValueError):
    """The words of a command line, or the lines of a settings file, cannot be meant."""


def one_or_many(paths: tuple[str, ...]) -> str | list[str]:
    """Return a single path as such, several as a list."""
    return paths[0] if len(paths) == 1 else list(paths)
