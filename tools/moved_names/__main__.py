"""See the package: `python -m moved_names [--download] WHEELS`."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from old_vllm.releases import RELEASES

from .history import History, Moved
from .judgements import ACCEPTED, INSTEAD, RENAMED
from .sources import Release, read_wheel
from .table import as_json, group, unresolved, version_key

ROOT: Final = Path(__file__).parents[2]
TABLE: Final = ROOT / "integrations" / "mhcs" / "vllm" / "moved_names.json"
#: Packages that customers' scripts import from.
PACKAGES: Final = (
    *("vllm.entrypoints", "vllm.lora", "vllm.sampling_params", "vllm.utils"),
)
#: Releases before the first one that can be run on a CPU.
EARLIER: Final = ("vllm==0.7.3", "vllm==0.6.6.post1", "vllm==0.6.3.post1")


def main() -> None:
    arguments = parse_arguments()
    if arguments.download:
        download(arguments.wheels)
    releases = read_releases(arguments.wheels)
    history = History(releases, RENAMED, ACCEPTED)
    moves = [*history.moves(PACKAGES)]
    report(history, moves, releases)
    arguments.table.write_text(as_json(group(moves, INSTEAD)))
    print(f"{arguments.table} has {len(moves)} names")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="moved_names", description=__doc__)
    parser.add_argument("wheels", type=Path, help="a folder of vLLM's wheels")
    parser.add_argument("--download", action="store_true", help="fetch them first")
    parser.add_argument("--table", type=Path, default=TABLE, help="what to write")
    return parser.parse_args()


def download(folder: Path) -> None:
    """Download the wheels of all releases, 2.4 GB."""
    options = ("--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder))
    for wheel in (*EARLIER, *(release.wheel for release in RELEASES.values())):
        print(f"downloading {wheel}", flush=True)
        command = (sys.executable, "-m", "pip", "download", *options, wheel)
        subprocess.run(command, check=True)


def read_releases(folder: Path) -> Sequence[Release]:
    """Return the releases whose wheels are in a folder, the oldest first."""
    releases = [read_wheel(wheel, "vllm") for wheel in folder.glob("*.whl")]
    if len(releases) < 2:
        sys.exit(f"{folder} has fewer than two wheels to compare: add --download.")
    return sorted(releases, key=lambda release: version_key(release.version))


def report(
    history: History, moves: Sequence[Moved], releases: Sequence[Release]
) -> None:
    """Print undecided candidates; decisions are recorded in judgements.py."""
    for place, candidates in sorted(history.doubtful.items()):
        for candidate, likeness in candidates.items():
            print(f"not matched: {place} and {candidate} ({likeness:.2f})")
    for release in releases:
        for move in unresolved(moves, release):
            print(f"no replacement in {release.version}: {move.old}")


if __name__ == "__main__":
    main()
