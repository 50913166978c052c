"""List the installed versions of an engine's packages, with all dependencies.

This file is run by the Python of the command's environment, which may lack this package
and any other: it imports nothing but the standard library.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec

_NAME = re.compile(r"\s*([a-z0-9][a-z0-9._-]*)\s*(?:\[([^]]*)\])?", re.IGNORECASE)
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']*)""")
#: A valid version (PEP 440): pip rejects a constraints file with any other.
_VERSION = re.compile(
    r"(\d+!)?\d+(\.\d+)*([-_.]?(a|b|c|rc|alpha|beta|pre|preview|post|rev|r|dev)"
    r"[-_.]?\d*)*(-\d+)?(\+[a-z0-9]+([-_.][a-z0-9]+)*)?",
    re.IGNORECASE,
)


def main(roots: Collection[str]) -> None:
    """Print a JSON line with the interpreter, whether it has pip, and the versions."""
    report = {
        "python": sys.executable,
        "has_pip": find_spec("pip") is not None,
        "versions": versions(roots),
    }
    # On a line of its own: a `.pth` of the environment may have printed something.
    sys.stdout.write(f"\n{json.dumps(report)}\n")


def versions(roots: Collection[str]) -> dict[str, str]:
    """Return the installed versions of ``roots`` and all their dependencies.

    A root is the name of a distribution, or of one of its top-level modules.
    """
    installed = _installed()
    roots = {normalize(root) for root in roots}
    queue = [(name, "") for name in installed if roots & _names(name, installed[name])]
    seen: dict[str, set[str]] = {}
    while queue:
        name, extra = queue.pop()
        if name in installed and extra not in seen.setdefault(name, set()):
            seen[name].add(extra)
            queue += _dependencies(installed[name], extra)
    pairs = ((name, installed[name].version) for name in sorted(seen))
    return {name: version for name, version in pairs if _VERSION.fullmatch(version)}


def normalize(name: str) -> str:
    """Return the normalized name of a distribution or an extra (PEP 503)."""
    return re.sub("[-_.]+", "-", name).lower()


def names_in(requirements: Iterable[str]) -> Iterator[str]:
    """Yield the names of the distributions in a requirements file."""
    for line in requirements:
        if match := _NAME.match(line):
            yield normalize(match[1])


def _installed() -> dict[str, Distribution]:
    installed: dict[str, Distribution] = {}
    for distribution in distributions():
        # The remains of a failed uninstallation have no name, or no version.
        metadata = distribution.metadata
        if "Name" in metadata and "Version" in metadata:
            installed.setdefault(normalize(metadata["Name"]), distribution)
    return installed


def _names(name: str, distribution: Distribution) -> set[str]:
    """Return the names of a distribution and its modules.

    A CPU build may be distributed under another name than its module.
    """
    modules = (distribution.read_text("top_level.txt") or "").split()
    return {name, *map(normalize, modules)}


def _dependencies(distribution: Distribution, extra: str) -> Iterator[tuple[str, str]]:
    """Yield the dependencies for an extra ("" for none), as (name, extra) pairs.

    Other markers are not evaluated: what they exclude is rarely installed.
    """
    for line in distribution.requires or ():
        marker = line.partition(";")[2]
        match = _NAME.match(line)
        if match and extra in ([*map(normalize, _EXTRA.findall(marker))] or [""]):
            name = normalize(match[1])
            yield name, ""
            for requested in filter(None, re.split(r"[\s,]+", match[2] or "")):
                yield name, normalize(requested)


if __name__ == "__main__":
    main(sys.argv[1:])
