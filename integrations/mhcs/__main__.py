"""``mhcs`` and ``python -m mhcs``: signals first, then the commands."""

import sys

from model_hosting_container_standards.supervisor import signals, streams


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["serve"]:
        # Before the imports, which take their time: the kernel throws away a signal
        # that process 1 does not listen for. No other command supervises.
        signals.hold()
        # And before the first file is opened, as one may get a closed descriptor.
        streams.prepare()
    from .cli import main as run

    run()


if __name__ == "__main__":
    main()
