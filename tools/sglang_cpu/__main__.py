"""See the package: `python -m sglang_cpu VERSION FOLDER`."""

import argparse
import re
import sys
from pathlib import Path
from typing import Final

from .environment import build

#: Earlier releases have LoRA on a GPU only, or import what is not installed here.
OLDEST: Final = (0, 5, 9)


def main() -> None:
    parser = argparse.ArgumentParser(prog="sglang_cpu", description=__doc__)
    parser.add_argument("version", help="a release of SGLang, e.g. 0.5.23")
    parser.add_argument("folder", type=Path, help="kept if it has the release")
    arguments = parser.parse_args()
    if release(arguments.version) < OLDEST:
        sys.exit(
            f"SGLang {arguments.version!r} does not serve adapters on a CPU: use "
            "0.5.9 or newer."
        )
    build(arguments.version, arguments.folder)


def release(version: str) -> tuple[int, ...]:
    """Return (0, 5, 10) of "0.5.10.post1"."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(x) for x in numbers[0].split(".")) if numbers else ()


if __name__ == "__main__":
    main()
