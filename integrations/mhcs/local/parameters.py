"""The parameters of the runtime API's operations, which are sent as headers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from .errors import ValidationError

_NAME: Final = r"[a-zA-Z0-9](-*[a-zA-Z0-9])*"
_ASCII: Final = r"[\x00-\x7f]*"
_PRINTABLE: Final = r"[\x21-\x7e][\x20-\x7e]*"
_SAGEMAKER: Final = "x-amzn-sagemaker-"


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of an operation.

    Args:
        name: its name in boto3.
        header: its header in the client's request.
        max_length: in characters.
        pattern: of the whole value.
        container_header: its header in the request to the container, "" for none.
    """

    name: str
    header: str
    max_length: int
    pattern: str = _ASCII
    container_header: str = ""

    def read(self, headers: Mapping[str, str]) -> str | None:
        """Return the value in a request, None without one.

        Raises:
            ValidationError: SageMaker does not allow the value.
        """
        value = headers.get(self.header)
        return self.check(value) if value else None

    def check(self, value: str) -> str:
        """Return the value.

        Raises:
            ValidationError: SageMaker does not allow it.
        """
        if len(value) > self.max_length:
            raise ValidationError(
                f"{self.name} has {len(value)} characters, and SageMaker allows "
                f"{self.max_length}."
            )
        if not re.fullmatch(self.pattern, value):
            raise ValidationError(
                f"{self.name}={value!r} is not allowed: it has to match {self.pattern}."
            )
        return value


def _forwarded(name: str, header: str, max_length: int, pattern: str) -> Parameter:
    """Return a parameter that the container gets by the same header."""
    return Parameter(name, header, max_length, pattern, header)


ENDPOINT_NAME: Final = Parameter("EndpointName", "", 63, _NAME)
CONTENT_TYPE: Final = _forwarded("ContentType", "content-type", 1024, _ASCII)
ACCEPT: Final = _forwarded("Accept", "accept", 1024, _ASCII)
CUSTOM_ATTRIBUTES: Final = _forwarded(
    "CustomAttributes", f"{_SAGEMAKER}custom-attributes", 1024, _ASCII
)
TARGET_MODEL: Final = _forwarded(
    "TargetModel", f"{_SAGEMAKER}target-model", 1024, _PRINTABLE
)
TARGET_VARIANT: Final = _forwarded(
    "TargetVariant", f"{_SAGEMAKER}target-variant", 63, _NAME
)
INFERENCE_ID: Final = _forwarded(
    "InferenceId", f"{_SAGEMAKER}inference-id", 64, _PRINTABLE
)
INFERENCE_COMPONENT: Final = _forwarded(
    "InferenceComponentName", f"{_SAGEMAKER}inference-component", 63, _NAME
)
SESSION_ID: Final = _forwarded("SessionId", f"{_SAGEMAKER}session-id", 256, _NAME)
NEW_OR_SESSION_ID: Final = _forwarded(
    SESSION_ID.name, SESSION_ID.header, SESSION_ID.max_length, f"NEW_SESSION|{_NAME}"
)
INPUT_LOCATION: Final = Parameter(
    "InputLocation", f"{_SAGEMAKER}inputlocation", 1024, r"(s3|file)://.+"
)
OUTPUT_EXTENSION: Final = Parameter(
    "S3OutputPathExtension",
    f"{_SAGEMAKER}s3outputpathextension",
    512,
    r"(?!s3:|https:)[a-zA-Z0-9!_.*'()/-]+",
)
FILENAME: Final = Parameter(
    "Filename",
    f"{_SAGEMAKER}filename",
    32,
    r"(?!.*\..*\.)[a-zA-Z0-9][a-zA-Z0-9-_.]*",
)
REQUEST_TTL: Final = Parameter(
    "RequestTTLSeconds", f"{_SAGEMAKER}requestttlseconds", 5, "[0-9]+"
)
INVOCATION_TIMEOUT: Final = Parameter(
    "InvocationTimeoutSeconds", f"{_SAGEMAKER}invocationtimeoutseconds", 4, "[0-9]+"
)

_COMMON: Final = (
    *(CUSTOM_ATTRIBUTES, INFERENCE_ID),
    Parameter("EnableExplanations", f"{_SAGEMAKER}enable-explanations", 64),
    Parameter("PrefixAwareId", f"{_SAGEMAKER}prefix-aware-id", 64, _PRINTABLE),
    Parameter(
        "TargetContainerHostname", f"{_SAGEMAKER}target-container-hostname", 63, _NAME
    ),
)
_REAL_TIME: Final = (*_COMMON, CONTENT_TYPE, TARGET_VARIANT, INFERENCE_COMPONENT)
INVOKE: Final = (*_REAL_TIME, ACCEPT, TARGET_MODEL, NEW_OR_SESSION_ID)
#: The stream is what the client accepts: its other Accept has a header of its own.
_STREAM_ACCEPT: Final = Parameter(
    ACCEPT.name, f"{_SAGEMAKER}accept", 1024, _ASCII, ACCEPT.header
)
INVOKE_STREAM: Final = (*_REAL_TIME, _STREAM_ACCEPT, SESSION_ID)
INVOKE_ASYNC: Final = (
    *(CUSTOM_ATTRIBUTES, INFERENCE_ID, _STREAM_ACCEPT, INPUT_LOCATION),
    *(OUTPUT_EXTENSION, FILENAME, REQUEST_TTL, INVOCATION_TIMEOUT),
    Parameter(
        CONTENT_TYPE.name,
        f"{_SAGEMAKER}content-type",
        1024,
        _ASCII,
        CONTENT_TYPE.header,
    ),
)


class Values:
    """The parameters of a request, by name.

    Raises:
        ValidationError: SageMaker does not allow a value.
    """

    def __init__(
        self, parameters: Sequence[Parameter], headers: Mapping[str, str]
    ) -> None:
        found = ((parameter, parameter.read(headers)) for parameter in parameters)
        self._given = [(parameter, value) for parameter, value in found if value]

    def get(self, parameter: Parameter) -> str | None:
        """Return the value of a parameter, None without one."""
        values = (value for one, value in self._given if one.name == parameter.name)
        return next(values, None)

    def container_headers(self) -> dict[str, str]:
        """Return the headers that SageMaker sends to the container."""
        return {
            parameter.container_header: value
            for parameter, value in self._given
            if parameter.container_header
        }
