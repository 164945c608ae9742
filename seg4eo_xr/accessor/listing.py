"""What an accessor shows of itself."""

from __future__ import annotations

import re


class Listing:
    """Shows as a line for each public method, with the first words of its docstring."""

    def __repr__(self) -> str:
        methods = [name for name in dir(self) if not name.startswith("_")]
        width = max(map(len, methods))
        title = _first_words(type(self).__doc__).replace("``", "")
        told = [(name, _first_words(getattr(type(self), name).__doc__)) for name in methods]
        return "\n".join([title, *(f"  {name:<{width}}  {words}" for name, words in told)])


def _first_words(docstring: str | None) -> str:
    """Give what stands before the first semicolon, full stop or end of a line."""
    return re.split(r"[;\n]|\.$|\.\n", docstring or "", maxsplit=1)[0]
