"""Reads the definitions in the modules of a release from its wheel."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple
from zipfile import ZipFile

#: Matches definitions at module level, and few other lines.
_DEFINITION: Final = re.compile(
    rb"^(?:(?:async[ ]+def|def|class)[ ]+(\w+)|(\w+)[ ]*(?::[^=\n]*)?=(?!=))", re.M
)


class Place(NamedTuple):
    """A name in a module."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


#: The value of a name in a module: a definition, or the place it is imported from.
Binding = ast.stmt | Place


class Module:
    """A module of a release."""

    def __init__(self, name: str, source: bytes, is_package: bool) -> None:
        self.name = name
        self._source = source
        self.is_package = is_package

    @cached_property
    def bindings(self) -> Mapping[str, Binding]:
        """The binding of each name after the module has been imported."""
        return dict(self._bind(ast.parse(self._source).body))

    def defined_names(self) -> Iterator[str]:
        """Yield names that the module probably defines, without parsing it."""
        for match in _DEFINITION.finditer(self._source):
            yield (match[1] or match[2]).decode()

    def _bind(self, body: Iterable[ast.stmt]) -> Iterator[tuple[str, Binding]]:
        for node in body:
            if isinstance(node, ast.ImportFrom):
                yield from self._imports(node)
            elif isinstance(node, ast.If | ast.Try | ast.With):
                for part in _parts(node):
                    yield from self._bind(part)
            else:
                yield from ((name, node) for name in _defined(node))

    def _imports(self, node: ast.ImportFrom) -> Iterator[tuple[str, Binding]]:
        module = self._absolute(node)
        for alias in node.names:
            yield alias.asname or alias.name, Place(module, alias.name)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        package = parts[: len(parts) + self.is_package - node.level]
        return ".".join([*package, *([node.module] if node.module else [])])


class Release:
    """The modules of a release."""

    def __init__(self, version: str, modules: Mapping[str, Module]) -> None:
        self.version = version
        self.modules = modules

    def binding(self, place: Place) -> Binding | None:
        """Return the binding of a place, or None."""
        module = self.modules.get(place.module)
        return module.bindings.get(place.name) if module is not None else None

    def definition(self, place: Place) -> Place | None:
        """Return the place of the definition that a place refers to, or None."""
        seen = set()
        while place not in seen:
            seen.add(place)
            binding = self.binding(place)
            if not isinstance(binding, Place):
                return place if binding is not None else None
            place = binding
        return None

    def definitions(self, name: str) -> list[Place]:
        """Return every place where a name is defined."""
        places = [Place(module, name) for module in self._index[name]]
        return [place for place in places if self.definition(place) == place]

    def words(self, place: Place) -> set[str]:
        """Return the identifiers in a definition."""
        node = self.binding(place)
        return {*_words(node)} if isinstance(node, ast.stmt) else set()

    @cached_property
    def _index(self) -> Mapping[str, list[str]]:
        index: dict[str, list[str]] = defaultdict(list)
        for module in self.modules.values():
            for name in {*module.defined_names()}:
                index[name].append(module.name)
        return index


def read_wheel(path: Path, package: str) -> Release:
    """Return the release in a wheel."""
    version = path.name.split("-")[1].partition(".post")[0]
    with ZipFile(path) as wheel:
        files = [name for name in wheel.namelist() if name.endswith(".py")]
        ours = [name for name in files if name.startswith(f"{package}/")]
        modules = [_module(name, wheel.read(name)) for name in ours]
    return Release(version, {module.name: module for module in modules})


def _module(file: str, source: bytes) -> Module:
    parts = file.removesuffix(".py").split("/")
    is_package = parts[-1] == "__init__"
    return Module(".".join(parts[:-1] if is_package else parts), source, is_package)


def _defined(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
            yield name
        case ast.Assign():
            for target in node.targets:
                elements = target.elts if isinstance(target, ast.Tuple) else [target]
                yield from (e.id for e in elements if isinstance(e, ast.Name))


def _parts(node: ast.If | ast.Try | ast.With) -> Iterator[Iterable[ast.stmt]]:
    """Yield the blocks of a statement that may run during an import."""
    if isinstance(node, ast.If):
        words = {*_words(node.test)}
        if "TYPE_CHECKING" in words:
            # Assignments in the else branch only replace names for type checkers.
            yield (n for n in node.orelse if not isinstance(n, ast.Assign))
            return
        if "__name__" in words:
            return
    yield node.body
    if isinstance(node, ast.Try):
        yield from (handler.body for handler in node.handlers)
    if not isinstance(node, ast.With):
        yield node.orelse


def _words(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        match part:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.arg(arg=word):
                yield word
            case ast.keyword(arg=str(word)) | ast.Constant(value=str(word)):
                yield word
            case ast.FunctionDef(name=word) | ast.AsyncFunctionDef(name=word):
                yield word
