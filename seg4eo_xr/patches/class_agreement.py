"""The classes of several sources of one store, brought into the codes of one class table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.matching import BACKGROUND, fitted, is_numbered, meant_table, names_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from seg4eo_xr.patches.sources import PatchSource
    from seg4eo_xr.patches.store import PatchStore


@dataclass(frozen=True)
class StatedClasses:
    """What labels say of their classes.

    Parameters
    ----------
    table
        Codes and names; None where they state none. A name that only the file gave is left out.
    numbered
        Whether names got their codes for want of any.
    shown
        The table with the name that the file gave.
    """

    table: ClassTable | None
    numbered: bool = False
    shown: ClassTable | None = None

    @classmethod
    def of(cls, attrs: Mapping[Any, Any]) -> StatedClasses:
        """Read the attributes of labels."""
        return cls(meant_table(attrs), is_numbered(attrs), ClassTable.from_attrs(attrs))


def in_one_table(
    sources: Sequence[PatchSource],
    existing: PatchStore | None = None,
    *,
    report: Callable[[str, Exception], None] | None = None,
) -> tuple[list[PatchSource], ClassTable | None, bool]:
    """Bring the labels of all sources into the codes of one class table.

    Parameters
    ----------
    sources
        At least one.
    existing
        The store that they are added to: its codes stay.
    report
        Called with the name of a source that does not fit, and the error; None raises it.

    Returns
    -------
    sources : list of PatchSource
        Those that fit; their labels are recoded as they are read.
    table : ClassTable or None
        The classes; None where nobody states any.
    complete : bool
        Whether labels may hold no other code; False where some state none, and none has a name.

    Raises
    ------
    ValueError
        If classes do not fit, and there is no `report`.
    """
    common = _Common.of(existing, {int(source.labels.rio.nodata) for source in sources})
    kept: list[PatchSource] = []
    for numbered in (False, True):  # codes that somebody chose come first
        for source in sources:
            stated = [classes for classes in source.classes if classes.table is not None]
            if numbered != any(classes.numbered for classes in stated):
                continue
            try:
                common.add(stated, f"the labels of {source.name}")
                kept.append(source)
            except ValueError as error:
                if report is None:
                    raise
                report(source.name, error)
        if not numbered:
            common.named_ones_follow(bare=any(_states_none(source) for source in kept))
    table = common.finished()
    named = table is not None and not names_nothing(table)
    complete = existing is not None or named or not any(map(_states_none, kept))
    fitting = set(map(id, kept))
    order = [source for source in sources if id(source) in fitting]
    if table is not None:
        order = [source.in_codes_of(table, common.reserved) for source in order]
    return order, table, complete


def codes_in(
    table: ClassTable, stated: StatedClasses, what: str, reserved: Collection[int]
) -> dict[int, int]:
    """Code in a table of each code of labels; empty where they keep theirs."""
    if stated.table is None:
        return {}
    codes = fitted(
        table, stated.table, "the others", what, numbered=stated.numbered, reserved=reserved
    )[1]
    return {} if all(code == new for code, new in codes.items()) else codes


def _states_none(source: PatchSource) -> bool:
    return any(classes.table is None for classes in source.classes)


class _Common:
    """A class table that grows by those of sources, and who brought each code."""

    def __init__(self, table: ClassTable | None, owner: str, reserved: Collection[int]) -> None:
        self.table = table
        self.owners = {} if table is None else dict.fromkeys(table.codes, owner)
        self.reserved = frozenset(reserved)
        self._shown: dict[int, set[str]] = {}
        self._numbered: list[ClassTable] = []
        self._bare = False

    @classmethod
    def of(cls, existing: PatchStore | None, ignored: set[int]) -> _Common:
        if existing is None:
            return cls(None, "", ignored)
        contract = existing.contract
        return cls(contract.classes, str(existing.path), {*ignored, contract.ignore})

    def named_ones_follow(self, *, bare: bool) -> None:
        """Say whether codes without names are among those that somebody chose."""
        self._bare = bare and self.table is None

    def add(self, stated: Sequence[StatedClasses], what: str) -> None:
        """Add the tables of one source, or none of them."""
        table, owners = self.table, dict(self.owners)
        for classes in stated:
            assert classes.table is not None
            if classes.numbered and self._bare:
                raise ValueError(
                    f"{what} name their classes ({', '.join(classes.table.names)}), but others "
                    "have codes without names; say which name has which code in a class table "
                    "(classes=, --classes)"
                )
            joint = classes.table
            if table is not None:
                joint = fitted(
                    table,
                    classes.table,
                    owners,
                    what,
                    numbered=classes.numbered,
                    reserved=self.reserved,
                )[0]
            if not classes.numbered:
                table = joint
                owners |= dict.fromkeys(set(joint.codes) - set(owners), what)
        self.table, self.owners = table, owners
        for classes in stated:
            assert classes.table is not None
            assert classes.shown is not None
            if classes.numbered:
                self._numbered.append(classes.table)
            elif classes.table != classes.shown:
                for code, name in zip(classes.shown.codes, classes.shown.names, strict=True):
                    self._shown.setdefault(code, set()).add(name)

    def finished(self) -> ClassTable | None:
        """Return the table of all, in which names that were only numbered come last."""
        if self._numbered:
            names = _joint_of_numbered(self._numbered, self.reserved)
            if self.table is None:
                return names
            return fitted(
                self.table, names, self.owners, "the labels", numbered=True, reserved=self.reserved
            )[0]
        if self.table is None:
            return None
        rows = zip(self.table.codes, self.table.names, strict=True)
        return replace(self.table, names=tuple(self._name(code, name) for code, name in rows))

    def _name(self, code: int, name: str) -> str:
        """Name of a class; that which files give where nobody else names it, and they agree."""
        given = self._shown.get(code, set())
        if not given or name != f"class {code}":
            return name
        return given.pop() if len(given) == 1 else "labelled"


def _joint_of_numbered(tables: Sequence[ClassTable], reserved: Collection[int]) -> ClassTable:
    """One table of all names, whose codes are kept where the tables agree on them."""
    code_of: dict[str, int] = {}
    first: dict[str, tuple[str, int]] = {}
    agreed = True
    for table in tables:
        for code, name in zip(table.codes, table.names, strict=True):
            agreed &= code_of.setdefault(name.casefold(), code) == code
            first.setdefault(name.casefold(), (name, code))
    agreed &= len(set(code_of.values())) == len(code_of)
    if agreed:
        rows = sorted((code, name) for name, code in first.values())
        return ClassTable.from_codes([code for code, _ in rows], [name for _, name in rows])
    background = first.pop(BACKGROUND, None)
    chosen = [] if background is None else [background]
    taken = {*reserved, *(code for _, code in chosen)}
    free = (code for code in count(1) if code not in taken)
    rows = sorted(
        [
            *((code, name) for name, code in chosen),
            *zip(free, sorted(name for name, _ in first.values()), strict=False),
        ]
    )
    return ClassTable.from_codes([code for code, _ in rows], [name for _, name in rows])
