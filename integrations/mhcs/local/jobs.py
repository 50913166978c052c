"""The requests of asynchronous invocations."""

from __future__ import annotations

import time
import uuid
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from . import parameters
from .errors import ValidationError
from .parameters import Parameter
from .request import Call
from .s3_folder import S3Folder

#: The bucket of all responses.
BUCKET: Final = "mhcs-local"
_TTL_S: Final = (60, 21_600)
_TIMEOUT_S: Final = (1, 3_600)
_DEFAULT_TIMEOUT_S: Final = 900


class File(msgspec.Struct, frozen=True):
    """A file of the folder that stands for S3."""

    location: str
    path: Path


class Job(msgspec.Struct, frozen=True):
    """An accepted invocation.

    Args:
        id: the inference id.
        headers: those of the request to the container.
        body: that request's body, or the file that has it.
        output: the file for the container's response.
        failure: the file for an error instead.
        expires: when it is too late to begin, in seconds of :func:`time.monotonic`.
        timeout: seconds that the container has.
    """

    id: str
    headers: dict[str, str]
    body: bytes | File
    output: File
    failure: File
    expires: float
    timeout: float


def make_job(call: Call, folder: S3Folder) -> Job:
    """Return the job of a call.

    Raises:
        ValidationError: a parameter is not allowed.
    """
    values = call.values
    job_id = values.get(parameters.INFERENCE_ID) or str(uuid.uuid4())
    headers = values.container_headers()
    ttl = _seconds(call, parameters.REQUEST_TTL, _TTL_S, _TTL_S[1])
    return Job(
        job_id,
        {**headers, parameters.INFERENCE_ID.header: job_id},
        _body(call, folder),
        *_outputs(call, folder),
        expires=time.monotonic() + ttl,
        timeout=_seconds(
            call, parameters.INVOCATION_TIMEOUT, _TIMEOUT_S, _DEFAULT_TIMEOUT_S
        ),
    )


def _body(call: Call, folder: S3Folder) -> bytes | File:
    location = call.values.get(parameters.INPUT_LOCATION)
    if (location is None) == (not call.body):
        raise ValidationError("Give either InputLocation or Body.")
    return call.body if location is None else File(location, folder.path(location))


def _outputs(call: Call, folder: S3Folder) -> tuple[File, File]:
    extension = call.values.get(parameters.OUTPUT_EXTENSION) or ""
    name = call.values.get(parameters.FILENAME) or f"{uuid.uuid4()}.out"
    prefix = "/".join((BUCKET, call.endpoint, *filter(None, extension.split("/"))))
    stem = PurePosixPath(name).stem
    output, failure = (f"s3://{prefix}/{file}" for file in (name, f"{stem}-error.out"))
    return (
        File(output, folder.path(output)),
        File(failure, folder.path(failure)),
    )


def _seconds(
    call: Call, parameter: Parameter, allowed: tuple[int, int], default: int
) -> int:
    text = call.values.get(parameter)
    if text is None:
        return default
    first, last = allowed
    if not first <= int(text) <= last:
        raise ValidationError(
            f"{parameter.name}={text} is not allowed: SageMaker allows {first} to "
            f"{last} seconds."
        )
    return int(text)
