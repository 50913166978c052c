"""What an engine needs of an environment: each package, as it is installed there.

This file is run by the environment's own Python, which may have neither this package
nor any other: it imports nothing but the standard library.
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
#: What pip takes for a version: one other line, and it would install nothing at all.
_VERSION = re.compile(
    r"(\d+!)?\d+(\.\d+)*([-_.]?(a|b|c|rc|alpha|beta|pre|preview|post|rev|r|dev)"
    r"[-_.]?\d*)*(-\d+)?(\+[a-z0-9]+([-_.][a-z0-9]+)*)?",
    re.IGNORECASE,
)


def main(roots: Collection[str]) -> None:
    """Print, as JSON, who this is, whether there is a pip, and what to keep."""
    found = {
        "python": sys.executable,
        "has_pip": find_spec("pip") is not None,
        "versions": versions(roots),
    }
    # On a line of its own: a `.pth` of the environment may have printed something.
    sys.stdout.write(f"\n{json.dumps(found)}\n")


def versions(roots: Collection[str]) -> dict[str, str]:
    """Return the versions of all that ``roots`` need, themselves included.

    A root is the name of a distribution, or that of a module of one.
    """
    installed = _installed()
    roots = {normalize(root) for root in roots}
    ahead = [(name, "") for name in installed if roots & _names(name, installed[name])]
    seen: dict[str, set[str]] = {}
    while ahead:
        name, extra = ahead.pop()
        if name in installed and extra not in seen.setdefault(name, set()):
            seen[name].add(extra)
            ahead += _needs(installed[name], extra)
    found = ((name, installed[name].version) for name in sorted(seen))
    return {name: version for name, version in found if _VERSION.fullmatch(version)}


def normalize(name: str) -> str:
    """Return the one way to write the name of a distribution, or of an extra."""
    return re.sub("[-_.]+", "-", name).lower()


def names_in(requirements: Iterable[str]) -> Iterator[str]:
    """Yield the distributions that lines of a requirements file begin with."""
    for line in requirements:
        if match := _NAME.match(line):
            yield normalize(match[1])


def _installed() -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    for distribution in distributions():
        # What is left of a broken removal has no name, or no version.
        metadata = distribution.metadata
        if "Name" in metadata and "Version" in metadata:
            found.setdefault(normalize(metadata["Name"]), distribution)
    return found


def _names(name: str, distribution: Distribution) -> set[str]:
    """Return its name and its modules': a build for the CPU has a name of its own."""
    modules = (distribution.read_text("top_level.txt") or "").split()
    return {name, *map(normalize, modules)}


def _needs(distribution: Distribution, extra: str) -> Iterator[tuple[str, str]]:
    """Yield what it needs, with the extras, for an extra of its own ("": for none).

    Other conditions are not looked at: what they leave out is hardly installed.
    """
    for line in distribution.requires or ():
        marker = line.partition(";")[2]
        match = _NAME.match(line)
        if match and extra in ([*map(normalize, _EXTRA.findall(marker))] or [""]):
            name = normalize(match[1])
            yield name, ""
            for asked in filter(None, re.split(r"[\s,]+", match[2] or "")):
                yield name, normalize(asked)


if __name__ == "__main__":
    main(sys.argv[1:])
