"""The encoding ``application/vnd.amazon.eventstream`` of response streams.

A message is, in network byte order: the length of the message and the length of its
headers (4 bytes each), the CRC32 of both, the headers, the payload, and the CRC32 of
everything before it. A header is the length of its name (1 byte), the name, the type
of its value (1 byte), the length of the value (2 bytes), and the value.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Final
from zlib import crc32

MEDIA_TYPE: Final = "application/vnd.amazon.eventstream"
_PRELUDE: Final = struct.Struct("!II")
_CRC: Final = struct.Struct("!I")
_STRING: Final = 7


def payload_part(data: bytes) -> bytes:
    """Return the event ``PayloadPart``, a piece of the container's response."""
    return encode(
        {
            ":message-type": "event",
            ":event-type": "PayloadPart",
            ":content-type": "application/octet-stream",
        },
        data,
    )


def stream_error(error_code: str, message: str) -> bytes:
    """Return the exception ``ModelStreamError``, which ends a stream.

    Args:
        error_code: ``ModelInvocationTimeExceeded`` or ``StreamBroken``.
    """
    document = {"Message": message, "ErrorCode": error_code}
    return encode(
        {
            ":message-type": "exception",
            ":exception-type": "ModelStreamError",
            ":content-type": "application/json",
        },
        json.dumps(document).encode(),
    )


def encode(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return a message."""
    encoded = b"".join(_header(name, value) for name, value in headers.items())
    overhead = _PRELUDE.size + 2 * _CRC.size
    prelude = _PRELUDE.pack(overhead + len(encoded) + len(payload), len(encoded))
    message = b"".join((prelude, _CRC.pack(crc32(prelude)), encoded, payload))
    return message + _CRC.pack(crc32(message))


def _header(name: str, value: str) -> bytes:
    return struct.pack(
        f"!B{len(name)}sBH{len(value)}s",
        len(name),
        name.encode(),
        _STRING,
        len(value),
        value.encode(),
    )
