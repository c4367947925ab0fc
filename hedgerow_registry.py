"""One kind of registry for everything that users name: rules, attacks, topologies, partitions, tasks and the like.

A name stands for an entry of a table, for an entry point that an installed package brings, or for `module:name`.

Laws:
- A table is read-only and lazy: listing it imports nothing, using a name imports the one module behind it.
- What hedgerow ships keeps its name: an installed package that takes the same one is refused, with a warning, and can
  still be written as `module:name`.
- Whoever writes a name that leads nowhere is told the nearest right one, the extra to install, or what went wrong in
  which file and line.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

Spec = TypeVar("Spec")
Value = TypeVar("Value")


class NameFault(ValueError):
    """A name that leads nowhere; the message is a sentence that says what to write."""


class UnknownName(NameFault):
    """A user wrote a name that does not exist; the message says which one comes nearest."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        words = sorted(known)
        near = get_close_matches(name, words, n=1, cutoff=0.5)
        there = f"known: {', '.join(words)}." if words else "it has none."
        super().__init__(f"unknown {kind} '{name}': " + (hint or (f"did you mean '{near[0]}'?" if near else there)))


class BadReference(NameFault):
    """A `module:name` that leads nowhere, fails when it is imported, or stands for something else than is wanted."""


class RegistryWarning(UserWarning):
    """An installed package brings a name that is taken."""


def choose(kind: str, name: str, known: Mapping[str, Value]) -> Value:
    """The value that `name` stands for.

    Args:
        kind: what is being named, for the message ("rule", "task", ...).
        name: what the user wrote.
        known: all that exists.

    Raises:
        UnknownName: no such name; the message names the nearest one.
    """
    try:
        return known[name]
    except KeyError:
        raise UnknownName(kind, name, known) from None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a table.

    Attributes:
        name: as users write it.
        reference: `module:attribute` behind it.
        summary: what it is, in one line; "" where only the module knows.
        source: paper, code or package that it comes from.
        extra: optional extra of hedgerow without which the module cannot be imported, or "".
    """

    name: str
    reference: str
    summary: str = ""
    source: str = ""
    extra: str = ""


class Registry(Mapping[str, Spec], Generic[Spec]):
    """The names of one kind, and what they stand for.

    Iterating gives the names of the table and of installed packages. `find` takes `module:name` and lent names too.

    Attributes:
        kind: what is named, in words: "rule".
        group: entry-point group of installed packages: "hedgerow.rules".
    """

    def __init__(
        self,
        kind: str,
        entries: Iterable[Entry],
        accept: Callable[[str, object], Spec],
        *,
        group: str = "",
        through: tuple[type[Exception], ...] = (),
    ) -> None:
        """A registry.

        Args:
            kind: see above.
            entries: what is shipped, in the order of lists.
            accept: (name, what the reference led to) -> what the name stands for; raises a ValueError whose message
                ends the sentence "'mine:thing' is ...".
            group: see above; "" = not open to packages.
            through: errors of a module's import that say enough by themselves.
        """
        self.kind, self.group = kind, group
        self._shipped = {entry.name: entry for entry in entries}
        self._accept = accept
        self._through = through
        self._loaded: dict[str, Spec] = {}
        self._lent: dict[str, Spec] = {}

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """Every line: first what is shipped, then what installed packages bring, by name."""
        found = dict(self._shipped)
        for point in sorted(entry_points(group=self.group) if self.group else (), key=lambda each: each.name):
            if point.name in found:
                warnings.warn(
                    f"{_origin(point)} brings a {self.kind} called '{point.name}', which is taken: write it as "
                    f"{point.value}",
                    RegistryWarning,
                    stacklevel=2,
                )
                continue
            found[point.name] = Entry(point.name, point.value, source=_origin(point))
        return MappingProxyType(found)

    def __iter__(self) -> Iterator[str]:
        """Names, shipped ones first."""
        return iter(self.entries)

    def __len__(self) -> int:
        """How many names there are."""
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        """Whether the name is in the table or an installed package's; loads nothing."""
        return name in self._shipped or name in self.entries

    def __getitem__(self, name: str) -> Spec:
        """What a name of the table stands for.

        Raises:
            KeyError: no such name.
            BadReference: an installed package's entry leads nowhere.
        """
        if name not in self:
            raise KeyError(name)
        return self.find(name)

    def find(self, name: str) -> Spec:
        """What a name stands for: of the table, of an installed package, lent, or `module:name`.

        Raises:
            UnknownName: no such name; the message says the nearest one, or how to write a name of a module.
            BadReference: `module:name` leads nowhere, fails, or is something else; the message says which.
        """
        if name in self._lent:
            return self._lent[name]
        if name in self._loaded:
            return self._loaded[name]
        entry = self._shipped.get(name) or (Entry(name, name) if ":" in name else self.entries.get(name))
        if entry is None:
            raise UnknownName(self.kind, name, self, self._beside(name))
        spec = self._load(entry)
        if ":" not in name:
            self._loaded[name] = spec
        return spec

    def lend(self, name: str, thing: object) -> str:
        """Let a name stand for an object of this process, until another object takes the name.

        Returns:
            The name.

        Raises:
            NameFault: the name is in the table, or the object is none of this kind.
        """
        if name in self:
            raise NameFault(f"{self.kind} '{name}' is hedgerow's own name: call yours something else")
        self._lent[name] = self._accepted(name, thing)
        return name

    def ships(self, name: str) -> bool:
        """Whether the name is hedgerow's own."""
        return name in self._shipped

    def is_lent(self, name: str) -> bool:
        """Whether only this process knows what the name stands for."""
        return name in self._lent

    def fingerprint(self, name: str) -> str:
        """What results under this name depend on beside the name: hex SHA-256 of the module's file; "" if shipped."""
        if name in self._shipped or name in self._lent:
            return ""
        entry = Entry(name, name) if ":" in name else self.entries[name]
        found = find_spec(entry.reference.partition(":")[0])
        if found is None or found.origin is None or not Path(found.origin).is_file():
            return ""
        return hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()

    def _load(self, entry: Entry) -> Spec:
        try:
            thing = resolve(entry.reference, self.kind, self._through)
        except BadReference as error:
            if entry.extra and isinstance(error.__cause__, ModuleNotFoundError):
                raise BadReference(
                    f"{self.kind} '{entry.name}' needs what is not installed: pip install 'hedgerow[{entry.extra}]'"
                ) from error
            raise
        return self._accepted(entry.name, thing)

    def _accepted(self, name: str, thing: object) -> Spec:
        try:
            return self._accept(name, thing)
        except NameFault:
            raise
        except ValueError as error:
            raise BadReference(f"{self.kind} '{name}' is {error}") from error

    def _beside(self, name: str) -> str:
        """For a bare word that is a module of the working folder or of an installed package: how to write it."""
        _search_here()
        try:
            there = name.isidentifier() and find_spec(name) is not None
        except (ImportError, ValueError):
            there = False
        return f"there is a module of this name: write {name}:NAME, NAME being the {self.kind} in it." if there else ""


def signature_of(function: Callable[..., object]) -> tuple[list[str], dict[str, Any]]:
    """Names of a function's arguments without a default, and those with one, in order; *args and **kwargs left out."""
    given = inspect.signature(function).parameters.values()
    plain = [each for each in given if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    required = [each.name for each in plain if each.default is each.empty]
    return required, {each.name: each.default for each in plain if each.default is not each.empty}


def resolve(reference: str, kind: str, through: tuple[type[Exception], ...] = ()) -> object:
    """What `module:name` stands for; the working folder is searched first.

    Args:
        reference: such as "mine:near_half" or "package.module:name".
        kind: what is wanted, for messages.
        through: errors of the module's import that are passed on as they are.

    Raises:
        BadReference: no such module or name, or the module fails when it is imported; the message says where.
    """
    module_name, colon, name = reference.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), *name.split("."))):
        raise BadReference(f"'{reference}' is not a reference; wanted module:name, such as mine:my_{kind}")
    here = _search_here()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise BadReference(f"module '{module_name}' needs '{error.name}', which is not installed") from error
        raise BadReference(f"no module '{module_name}' in {here} or among the installed packages") from error
    except through:
        raise
    except Exception as error:
        raise BadReference(f"module '{module_name}' fails{_where(error)}: {type(error).__name__}: {error}") from error
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            near = get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise BadReference(f"module '{module_name}' has no '{name}'{hint}")
        found = getattr(found, part)
    return found


def _search_here() -> str:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    return here


def _where(error: Exception) -> str:
    """The last line of the user's that was reached, in words."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}, line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    own = [frame for frame in frames if frame.filename != __file__]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


def _origin(point: EntryPoint) -> str:
    if point.dist is None:
        return "an installed package"
    return f"package {point.dist.name} {point.dist.version}"
