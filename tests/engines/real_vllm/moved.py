"""Import every name that the installed vLLM moved, and print the outcomes."""

import importlib
import json
import sys
from typing import Final

from mhcs.vllm import engine
from model_hosting_container_standards.customer_code.moved_names import (
    install_moved_names,
)

#: The module cannot be imported, because a dependency is not installed.
UNUSABLE: Final = "unusable"


def outcome(module: str, name: str) -> str:
    """Return the error of an import, "" if it succeeds."""
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        return str(error) if " was removed: " in str(error) else UNUSABLE
    try:
        getattr(found, name)
    except AttributeError as error:
        return str(error)
    except ImportError as error:
        return UNUSABLE if " cannot be imported: " in str(error) else str(error)
    return ""


def main() -> None:
    moved = engine.moved_names
    install_moved_names(moved)
    importlib.import_module("vllm")
    outcomes = {
        f"{module}:{name}": outcome(module, name)
        for module, moves in moved.items()
        for move in moves
        for name in move.names
    }
    for reference in sys.argv[1:]:
        module, _, name = reference.partition(":")
        outcomes[reference] = outcome(module, name)
    sys.stdout.write(json.dumps(outcomes))


main()
