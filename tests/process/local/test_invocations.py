"""boto3's invoke_endpoint through ``mhcs local``."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest

from local_endpoint import NAME, PATIENCE_S, LocalEndpoint, do, error_of
from raw_container import RawContainer
from servers import HOST, polling

MAX_BODY = 25 * 1024 * 1024


def sent(response: Any) -> dict[str, str]:
    """Return the headers that the container got."""
    pairs = json.loads(response["CustomAttributes"])
    # Every request has these.
    return {
        k: v for k, v in pairs if k not in ("host", "content-length", "x-request-id")
    }


# --- requests and responses --------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"prompt": "h\xc3\xa9"}', "application/json"),
        (bytes(range(256)), "application/x-npy"),
        (b"a,b\r\n1,2\r\n", "text/csv; charset=utf-8"),
        (b"", "text/plain"),
    ],
)
def test_bodies_and_content_types_are_passed_unchanged(
    endpoint: LocalEndpoint, body: bytes, content_type: str
) -> None:
    response = endpoint.invoke(body, ContentType=content_type)
    assert response["Body"] == body
    assert response["ContentType"].startswith(content_type)


@pytest.mark.parametrize(
    ("parameter", "header"),
    [
        ("ContentType", "content-type"),
        ("Accept", "accept"),
        ("CustomAttributes", "x-amzn-sagemaker-custom-attributes"),
        ("TargetModel", "x-amzn-sagemaker-target-model"),
        ("TargetVariant", "x-amzn-sagemaker-target-variant"),
        ("InferenceId", "x-amzn-sagemaker-inference-id"),
    ],
)
def test_container_gets_parameters_as_headers(
    endpoint: LocalEndpoint, parameter: str, header: str
) -> None:
    response = endpoint.invoke(b"hello", **{parameter: "value-1"})
    assert sent(response) == {header: "value-1"}


def test_container_gets_no_other_headers(endpoint: LocalEndpoint) -> None:
    """SageMaker removes what is not of its API, such as boto3's signature."""
    assert sent(endpoint.invoke(b"hello", EnableExplanations="yes")) == {}


def test_response_names_the_variant(endpoint: LocalEndpoint) -> None:
    assert endpoint.invoke(b"hello")["InvokedProductionVariant"] == "AllTraffic"
    response = endpoint.invoke(b"hello", TargetVariant="blue")
    assert response["InvokedProductionVariant"] == "blue"


def test_every_endpoint_name_is_answered(endpoint: LocalEndpoint) -> None:
    response = endpoint.boto.invoke_endpoint(EndpointName="another", Body=b"hello")
    assert response["Body"].read() == b"hello"


def test_program_may_get_the_address_from_outside(
    endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", endpoint.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unused")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "unused")
    client = boto3.client("sagemaker-runtime", region_name="eu-central-1")
    response = client.invoke_endpoint(EndpointName=NAME, Body=b"hello")
    assert response["Body"].read() == b"hello"
    client.close()


def test_invocations_run_at_once(endpoint: LocalEndpoint) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(endpoint.invoke, do("wait", name="first"))
        endpoint.wait_for("first-waiting")
        assert endpoint.invoke(b"hello")["Body"] == b"hello"
        endpoint.release("first")
        assert json.loads(waiting.result()["Body"]) == "released"


# --- sessions ----------------------------------------------------------------------


def test_session_begins_is_used_and_is_closed(endpoint: LocalEndpoint) -> None:
    begun = endpoint.invoke(do("respond"), SessionId="NEW_SESSION")
    session_id, _, expires = begun["NewSessionId"].partition("; ")
    assert expires.startswith("Expires=2")
    used = endpoint.invoke(b"hello", SessionId=session_id)
    assert sent(used) == {"x-amzn-sagemaker-session-id": session_id}
    closed = endpoint.invoke(json.dumps({"requestType": "CLOSE"}), SessionId=session_id)
    assert closed["ClosedSessionId"] == session_id
    error = error_of(endpoint.invoke, b"hello", SessionId=session_id)
    assert error["OriginalStatusCode"] == 400
    assert "session not found" in error["OriginalMessage"]


# --- errors of the container -------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "side"), [(400, "client"), (499, "client"), (500, "server")]
)
def test_error_of_container_is_model_error(
    endpoint: LocalEndpoint, status: int, side: str
) -> None:
    with pytest.raises(endpoint.boto.exceptions.ModelError) as caught:
        endpoint.invoke(do("respond", status=status, body="no such model"))
    error = caught.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert error["OriginalStatusCode"] == status
    assert error["OriginalMessage"] == "no such model"
    assert error["LogStreamArn"].endswith(f"/aws/sagemaker/Endpoints/{NAME}")
    start = (
        f'Received {side} error ({status}) from primary with message "no such model"'
    )
    assert error["Message"].startswith(start)


def test_long_error_of_container_is_shortened(endpoint: LocalEndpoint) -> None:
    error = error_of(endpoint.invoke, do("respond", status=500, body="é" * 5000))
    assert error["OriginalMessage"] == "é" * 2048


def test_redirection_is_model_error(endpoint: LocalEndpoint) -> None:
    error = error_of(endpoint.invoke, do("respond", status=307))
    assert error["OriginalStatusCode"] == 307


@pytest.mark.parametrize(
    "answer",
    [
        b"I am no HTTP server\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["text", "nothing", "half", "bad chunk"],
)
def test_answer_that_is_not_http_is_model_error(
    raw_endpoint: LocalEndpoint, raw_container: RawContainer, answer: bytes
) -> None:
    raw_container.answer = answer
    error = error_of(raw_endpoint.invoke, b"hello")
    assert (error["Code"], error["OriginalStatusCode"]) == ("ModelError", 0)
    assert "incomplete or not HTTP" in error["OriginalMessage"]


def test_headers_that_are_not_ascii_are_passed(
    raw_endpoint: LocalEndpoint, raw_container: RawContainer
) -> None:
    raw_container.answer = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
        b"X-Amzn-SageMaker-Custom-Attributes: \xc3\xa9\r\n\r\n"
    )
    attributes = raw_endpoint.invoke(b"hello")["CustomAttributes"]
    assert attributes.encode("latin-1") == b"\xc3\xa9"


def test_other_header_of_a_new_session_counts(
    raw_endpoint: LocalEndpoint, raw_container: RawContainer
) -> None:
    """AWS's page on sessions has the one, and its API the other."""
    raw_container.answer = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
        b"X-Amzn-SageMaker-Session-Id: id-1; Expires=2026-11-30T10:00:00Z\r\n\r\n"
    )
    response = raw_endpoint.invoke(b"hello", SessionId="NEW_SESSION")
    assert response["NewSessionId"] == "id-1; Expires=2026-11-30T10:00:00Z"


def test_container_that_dies_is_model_error(tmp_path: Path) -> None:
    with LocalEndpoint(tmp_path) as endpoint:
        error = error_of(endpoint.invoke, do("die"))
        assert (error["Code"], error["OriginalStatusCode"]) == ("ModelError", 0)
        # As a shell has it, for SIGKILL.
        assert endpoint.wait(PATIENCE_S) == 137


# --- SageMaker's limits ------------------------------------------------------------


def test_longest_body_is_passed(endpoint: LocalEndpoint) -> None:
    response = endpoint.invoke(b"x" * MAX_BODY)
    assert len(response["Body"]) == MAX_BODY


def test_longer_body_is_validation_error(endpoint: LocalEndpoint) -> None:
    error = error_of(endpoint.invoke, b"x" * (MAX_BODY + 1))
    assert error["Code"] == "ValidationError"
    message = f"The body has {MAX_BODY + 1} bytes, and SageMaker allows {MAX_BODY}."
    assert error["Message"] == message


def test_client_that_sends_all_before_it_reads_gets_the_error(
    endpoint: LocalEndpoint,
) -> None:
    length = 3 * MAX_BODY
    with socket.create_connection((HOST, endpoint.port)) as client:
        client.sendall(
            f"POST /endpoints/{NAME}/invocations HTTP/1.1\r\nHost: x\r\n"
            f"Content-Length: {length}\r\n\r\n".encode()
        )
        client.sendall(b"x" * length)
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


def test_longer_response_is_model_error(endpoint: LocalEndpoint) -> None:
    error = error_of(endpoint.invoke, do("respond", length=MAX_BODY + 1))
    assert error["Code"] == "ModelError"
    assert f"longer than SageMaker's {MAX_BODY} bytes" in error["OriginalMessage"]


@pytest.mark.parametrize(
    ("parameter", "length"),
    [
        ("ContentType", 1024),
        ("Accept", 1024),
        ("CustomAttributes", 1024),
        ("TargetModel", 1024),
        ("TargetVariant", 63),
        ("InferenceId", 64),
        ("EnableExplanations", 64),
        ("SessionId", 256),
    ],
)
def test_longer_parameter_is_validation_error(
    endpoint: LocalEndpoint, parameter: str, length: int
) -> None:
    value = "x" * (length + 1)
    error = error_of(endpoint.invoke, b"hello", **{parameter: value})
    assert error["Code"] == "ValidationError"
    message = f"{parameter} has {length + 1} characters, and SageMaker allows {length}."
    assert error["Message"] == message


def test_longer_endpoint_name_is_validation_error(endpoint: LocalEndpoint) -> None:
    call = endpoint.boto.invoke_endpoint
    error = error_of(call, EndpointName="x" * 64, Body=b"hello")
    assert error["Message"].startswith("EndpointName has 64 characters")


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("TargetVariant", "not a name"),
        ("SessionId", "OLD_SESSION"),
        ("InferenceComponentName", "a/b"),
    ],
)
def test_parameter_of_other_form_is_validation_error(
    endpoint: LocalEndpoint, parameter: str, value: str
) -> None:
    error = error_of(endpoint.invoke, b"hello", **{parameter: value})
    assert error["Code"] == "ValidationError"
    assert f"{parameter}={value!r} is not allowed" in error["Message"]


def test_late_response_is_model_error(endpoint: LocalEndpoint, tmp_path: Path) -> None:
    container = f"http://127.0.0.1:{endpoint.container_port}"
    options = ("--container", container, "--timeout", "0.5")
    with LocalEndpoint(tmp_path, *options, command=()) as quick:
        for call in (quick.invoke, quick.stream):
            error = error_of(call, do("wait", name="late"))
            assert (error["Code"], error["OriginalStatusCode"]) == ("ModelError", 0)
            assert "has not answered within 0.5 s" in error["OriginalMessage"]
        endpoint.release("late")


def test_client_that_leaves_within_its_body_harms_nothing(
    endpoint: LocalEndpoint,
) -> None:
    with socket.create_connection((HOST, endpoint.port)) as client:
        client.sendall(
            f"POST /endpoints/{NAME}/invocations HTTP/1.1\r\nHost: x\r\n"
            "Content-Length: 10\r\n\r\nhalf".encode()
        )
    assert endpoint.invoke(b"hello")["Body"] == b"hello"
    assert "Traceback" not in endpoint.stderr()


# --- what is not emulated ----------------------------------------------------------


def test_control_plane_is_unknown(endpoint: LocalEndpoint) -> None:
    client = boto3.client(
        "sagemaker",
        endpoint_url=endpoint.url,
        region_name="us-east-1",
        aws_access_key_id="unused",
        aws_secret_access_key="unused",
    )
    error = error_of(client.list_endpoints)
    client.close()
    assert error["Code"] == "UnknownOperationException"
    assert "InvokeEndpoint" in error["Error"]["Message"]


@pytest.mark.parametrize("path", ["/", f"/endpoints/{NAME}", "/invocations"])
def test_other_paths_are_unknown(endpoint: LocalEndpoint, path: str) -> None:
    assert endpoint.client.post(path).status_code == 404


def test_other_methods_are_unknown(endpoint: LocalEndpoint) -> None:
    path = f"/endpoints/{NAME}/invocations"
    assert endpoint.client.get(path).headers["x-amzn-errortype"].startswith("Unknown")


# --- health ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "problem"),
    [("503", "answers 503, not 200"), ("hangs", "takes longer than SageMaker's 2 s")],
)
def test_endpoint_is_unavailable_until_ping_is_200(
    tmp_path: Path, state: str, problem: str
) -> None:
    (tmp_path / "ping").write_text(state)
    with LocalEndpoint(tmp_path, is_ready=False) as endpoint:
        for _ in polling(PATIENCE_S):
            if "waiting" in endpoint.output():
                error = error_of(endpoint.invoke, b"hello")
                assert error["Code"] == "ServiceUnavailable"
                if problem in error["Message"]:
                    break
        else:
            raise AssertionError(error["Message"])
        (tmp_path / "ping").unlink()
        endpoint.wait_until_ready("/ping")
        assert endpoint.invoke(b"hello")["Body"] == b"hello"


def test_container_that_has_gone_is_unavailable(tmp_path: Path) -> None:
    with RawContainer() as container:
        options = ("--container", container.url)
        endpoint = LocalEndpoint(tmp_path, *options, command=())
        endpoint.start()
        endpoint.wait_until_ready("/ping")
    error = error_of(endpoint.invoke, b"hello")
    endpoint.close()
    assert error["Code"] == "ServiceUnavailable"
    assert "The container cannot be reached" in error["Message"]
