"""``mhcs`` and ``python -m mhcs``: signals first, then the commands."""

import sys

from model_hosting_container_standards.supervisor import signals


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["serve"]:
        # Before the imports, which take their time: the kernel throws away a signal
        # that process 1 does not listen for. No other command supervises.
        signals.hold()
        from model_hosting_container_standards.supervisor import streams

        # Before a file is opened that could get a closed descriptor.
        streams.prepare()
    from .cli import main as run

    run()


if __name__ == "__main__":
    main()
