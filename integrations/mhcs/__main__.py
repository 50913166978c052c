"""Entry point of ``mhcs`` and ``python -m mhcs``."""

import sys

from model_hosting_container_standards.supervisor import signals


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["serve"]:
        # Before the slow imports: the kernel drops signals that process 1 has no
        # handler for. No other command supervises.
        signals.hold()
        from model_hosting_container_standards.supervisor import streams

        # Before any file is opened, which would reuse a closed standard descriptor.
        streams.prepare()
    from .cli import main as run

    run()


if __name__ == "__main__":
    main()
