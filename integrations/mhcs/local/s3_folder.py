"""A folder that stands for S3: ``s3://BUCKET/KEY`` is ``FOLDER/BUCKET/KEY``."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from .errors import ValidationError

_S3: Final = "s3://"
_FILE: Final = "file://"


class S3Folder:
    """The files of asynchronous invocations. None outside the folder is used.

    Args:
        folder: made if it does not exist.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder.resolve()

    def path(self, location: str) -> Path:
        """Return the path of ``s3://BUCKET/KEY``, or of a ``file://`` in the folder.

        Raises:
            ValidationError: it is outside the folder, or not a path.
        """
        if location.startswith(_S3):
            path = self._folder / location.removeprefix(_S3)
        else:
            path = Path(unquote(location.removeprefix(_FILE)))
        try:
            path = path.resolve()
        except (ValueError, RuntimeError) as error:  # A null byte, or a loop of links.
            raise ValidationError(f"{location} is not a path: {error}.") from error
        if not path.is_relative_to(self._folder):
            raise ValidationError(f"{location} is outside {self._folder}.")
        return path

    def read(self, path: Path, limit: int) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: it cannot be read.
            ValueError: it has more than ``limit`` bytes.
        """
        size = path.stat().st_size
        if size > limit:
            raise ValueError(f"{path} has {size} bytes, and SageMaker allows {limit}.")
        return path.read_bytes()

    def write(self, path: Path, content: bytes) -> None:
        """Write a file, which is there with its whole content or not at all.

        Raises:
            OSError: it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{uuid.uuid4()}")
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
