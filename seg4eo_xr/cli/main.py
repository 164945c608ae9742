"""From the words of a command line to a command and an exit status.

Exit status: 0 done, 1 a part failed or an error of the program's own, 2 wrong use or input,
130 interrupted.
"""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Union

import tyro
from tyro.conf import subcommand

from seg4eo_xr import __version__
from seg4eo_xr.cli.command import Command, PartlyFailedError
from seg4eo_xr.cli.extracting import ExtractBatch, ExtractSingle
from seg4eo_xr.cli.modelling import Demo, Evaluate, Models, Predict
from seg4eo_xr.cli.stores import Export, Import, Info, Visualize
from seg4eo_xr.cli.training import CrossValidate, Train

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMANDS: dict[str, type[Command]] = {
    "extract single": ExtractSingle,
    "extract batch": ExtractBatch,
    "info": Info,
    "visualize": Visualize,
    "import": Import,
    "export": Export,
    "train": Train,
    "cross-validate": CrossValidate,
    "predict": Predict,
    "evaluate": Evaluate,
    "models": Models,
    "demo": Demo,
}

_DESCRIPTION = """Segment satellite, aerial or drone imagery: cut patches, train, map, evaluate.

seg4eo-xr COMMAND --help explains a command's options, which may be written --patch_size or
--patch-size alike. --debug shows the traceback of an error. A first try: seg4eo-xr demo"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        The words after ``seg4eo-xr``; those of the process if None.

    Returns
    -------
    int
        The exit status.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if words == ["--version"]:
        print(f"seg4eo-xr {__version__}")
        return 0
    if debug:
        _parse(words).run()
        return 0
    try:
        command = _parse(words)
        with _plain_warnings():
            command.run()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads our lines, such as `head`, has had enough; Python must not flush the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, TypeError, OSError, ImportError, PartlyFailedError) as error:
        told = [f"error: {error}", *getattr(error, "__notes__", ())]
        print("\n".join(told), file=sys.stderr)
        return 1 if isinstance(error, PartlyFailedError) else 2
    except KeyboardInterrupt as interrupt:
        print("\n".join(["interrupted", *getattr(interrupt, "__notes__", ())]), file=sys.stderr)
        return 130
    return 0


def _parse(words: list[str]) -> Command:
    for size in (2, 1):
        name = " ".join(words[:size])
        if name in COMMANDS:
            return tyro.cli(COMMANDS[name], args=words[size:], prog=f"seg4eo-xr {name}")
    if words[:1] == ["extract"]:
        return _parse(["extract", "single", *words[1:]])
    choices: Any = Union[  # noqa: UP007
        tuple(
            Annotated[command, subcommand(name, description=_first_line(command))]
            for name, command in COMMANDS.items()
        )
    ]
    chosen: Command = tyro.cli(choices, args=words, prog="seg4eo-xr", description=_DESCRIPTION)
    return chosen


def _first_line(command: type[Command]) -> str:
    return (inspect.getdoc(command) or "").partition("\n")[0]


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show a warning as one line, without the place in the code."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
