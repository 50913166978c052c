"""Read the YAML files in which engines take their command line options."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

_SUFFIXES: Final = (".yaml", ".yml")


def read_yaml_options(file: Path) -> dict[str, Any]:
    """Return the options of a file by their names, with dashes.

    Raises:
        ValueError: the file cannot be used; the text says why.
    """
    import yaml  # These engines need it too.

    if file.suffix not in _SUFFIXES:
        raise ValueError("its name must end in .yaml or .yml")
    try:
        document = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML ({error})") from None
    if not isinstance(document, dict):
        raise ValueError(
            "it contains no options: write lines such as `tensor-parallel-size: 1`"
        )
    return {str(key).replace("_", "-"): document[key] for key in document}
