"""See the package: `python -m ray_cpu VERSION FOLDER`."""

import argparse
from pathlib import Path

from .environment import build


def main() -> None:
    parser = argparse.ArgumentParser(prog="ray_cpu", description=__doc__)
    parser.add_argument("version", help="a release of Ray, e.g. 2.60.0")
    parser.add_argument("folder", type=Path, help="kept if it has the release")
    arguments = parser.parse_args()
    build(arguments.version, arguments.folder)


if __name__ == "__main__":
    main()
