"""See the package: `python -m old_vllm VERSION FOLDER`."""

import argparse
import sys
from pathlib import Path

from .environment import build
from .releases import RELEASES


def main() -> None:
    parser = argparse.ArgumentParser(prog="old_vllm", description=__doc__)
    parser.add_argument("version", help=f"one of {', '.join(RELEASES)}")
    parser.add_argument("folder", type=Path, help="created anew, even if it exists")
    arguments = parser.parse_args()
    release = RELEASES.get(arguments.version)
    if release is None:
        sys.exit(
            f"No recipe for vLLM {arguments.version!r} exists: use one of "
            f"{', '.join(RELEASES)}, as in make test-vllm VERSION=0.28.0, or write "
            "one in tools/old_vllm/releases.py."
        )
    build(release, arguments.folder)


if __name__ == "__main__":
    main()
