"""boto3's invoke_endpoint_with_response_stream through ``mhcs local``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EventStreamError

from local_endpoint import NAME, LocalEndpoint, do
from raw_container import RawContainer


def parts(response: Any) -> list[bytes]:
    return [event["PayloadPart"]["Bytes"] for event in response["Body"]]


def test_stream_arrives_unchanged(endpoint: LocalEndpoint) -> None:
    response = endpoint.stream(do("stream"))
    assert response["ContentType"].startswith("text/event-stream")
    assert response["InvokedProductionVariant"] == "AllTraffic"
    assert b"".join(parts(response)) == b"data: first\n\ndata: last\n\n"


def test_parts_arrive_when_they_are_sent(endpoint: LocalEndpoint) -> None:
    response = endpoint.stream(do("stream", then="wait", name="parts"))
    events = iter(response["Body"])
    assert next(events)["PayloadPart"]["Bytes"] == b"data: first\n\n"
    endpoint.release("parts")
    assert [event["PayloadPart"]["Bytes"] for event in events] == [b"data: last\n\n"]


def test_response_that_is_no_stream_is_one_too(endpoint: LocalEndpoint) -> None:
    """Longer than a read of the socket, and of the limit of one event."""
    length = 20 * 1024**2
    response = endpoint.stream(do("respond", length=length))
    assert sum(map(len, parts(response))) == length


def test_container_gets_parameters_as_headers(endpoint: LocalEndpoint) -> None:
    response = endpoint.stream(
        b"hello",
        ContentType="text/plain",
        Accept="text/event-stream",
        InferenceId="id-1",
    )
    assert parts(response) == [b"hello"]
    got = dict(json.loads(response["CustomAttributes"]))
    assert got["content-type"] == "text/plain"
    assert got["accept"] == "text/event-stream"
    assert got["x-amzn-sagemaker-inference-id"] == "id-1"
    assert "x-amzn-sagemaker-accept" not in got


def test_error_before_stream_is_model_error(endpoint: LocalEndpoint) -> None:
    with pytest.raises(endpoint.boto.exceptions.ModelError) as caught:
        endpoint.stream(do("respond", status=503, body="busy"))
    assert caught.value.response["OriginalStatusCode"] == 503
    assert caught.value.response["OriginalMessage"] == "busy"


def test_session_cannot_begin_with_stream(endpoint: LocalEndpoint) -> None:
    with pytest.raises(ClientError, match="SessionId='NEW_SESSION' is not allowed"):
        endpoint.stream(b"hello", SessionId="NEW_SESSION")


def broken(response: Any) -> EventStreamError:
    """Return the error that ends a stream behind its first part."""
    events = iter(response["Body"])
    assert next(events)["PayloadPart"]["Bytes"] == b"data: first\n\n"
    with pytest.raises(EventStreamError) as caught:
        next(events)
    response["Body"].close()
    error: EventStreamError = caught.value
    return error


def test_container_that_dies_breaks_stream(tmp_path: Path) -> None:
    with LocalEndpoint(tmp_path) as endpoint:
        response = endpoint.stream(do("stream", then="wait", name="dies"))
        other = endpoint.stream(do("stream", then="die"))
        for one in (response, other):
            error = broken(one).response
            assert error["Error"]["Code"] == "ModelStreamError"
            assert "The container's stream broke" in error["Error"]["Message"]


@pytest.mark.parametrize("rest", [b"", b"nonsense\r\n"])
def test_stream_that_is_not_http_breaks(
    raw_endpoint: LocalEndpoint, raw_container: RawContainer, rest: bytes
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw_container.answer = head + b"d\r\ndata: first\n\n\r\n" + rest
    error = broken(raw_endpoint.stream(b"hello")).response["Error"]
    assert error["Code"] == "ModelStreamError"


def test_late_stream_ends(endpoint: LocalEndpoint, tmp_path: Path) -> None:
    container = f"http://127.0.0.1:{endpoint.container_port}"
    options = ("--container", container, "--stream-timeout", "1")
    with LocalEndpoint(tmp_path, *options, command=()) as quick:
        response = quick.stream(do("stream", then="wait", name="late"))
        with pytest.raises(EventStreamError) as caught:
            parts(response)
        response["Body"].close()
        error = caught.value.response["Error"]
        assert error["Code"] == "ModelStreamError"
        assert "has not finished its stream within 1 s" in error["Message"]
        endpoint.wait_for("late-cancelled")


def test_container_sees_that_the_client_has_left(endpoint: LocalEndpoint) -> None:
    response = endpoint.stream(do("stream", then="wait", name="leaves"))
    next(iter(response["Body"]))
    endpoint.wait_for("leaves-waiting")
    response["Body"].close()
    endpoint.wait_for("leaves-cancelled")


def test_stream_has_the_media_type_of_events(endpoint: LocalEndpoint) -> None:
    path = f"/endpoints/{NAME}/invocations-response-stream"
    response = endpoint.client.post(path, content=b"hello")
    assert response.headers["content-type"] == "application/vnd.amazon.eventstream"
