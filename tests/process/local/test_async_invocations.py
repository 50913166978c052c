"""boto3's invoke_endpoint_async through ``mhcs local``: files stand for S3."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_endpoint import NAME, PATIENCE_S, LocalEndpoint, do
from mhcs.local.container import Container
from mhcs.local.job_queue import JobQueue
from mhcs.local.jobs import File, Job
from mhcs.local.s3_folder import S3Folder
from servers import polling


@pytest.fixture
def input_file(s3_folder: Path) -> Path:
    path = s3_folder / "bucket" / "in put.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"from the file")
    return path


def content(s3_folder: Path, location: str) -> bytes:
    """Return what an invocation has written, once it is there."""
    path = s3_folder / location.removeprefix("s3://")
    for _ in polling(PATIENCE_S):
        if path.exists():
            return path.read_bytes()
    raise AssertionError(f"{path} was not written")


def refusal(endpoint: LocalEndpoint, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        endpoint.invoke_async(**parameters)
    error = caught.value.response["Error"]
    assert error["Code"] == "ValidationError"
    message: str = error["Message"]
    return message


def test_body_is_answered_in_a_file(endpoint: LocalEndpoint, s3_folder: Path) -> None:
    response = endpoint.invoke_async(Body=bytes(range(256)), InferenceId="job 1")
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert response["InferenceId"] == "job 1"
    assert response["OutputLocation"].startswith(f"s3://mhcs-local/{NAME}/")
    assert content(s3_folder, response["OutputLocation"]) == bytes(range(256))


def test_file_of_input_location_is_the_body(
    endpoint: LocalEndpoint, s3_folder: Path, input_file: Path
) -> None:
    for location in ("s3://bucket/in put.json", input_file.as_uri()):
        response = endpoint.invoke_async(InputLocation=location)
        assert content(s3_folder, response["OutputLocation"]) == b"from the file"


def test_output_has_the_name_that_was_asked_for(
    endpoint: LocalEndpoint, s3_folder: Path
) -> None:
    response = endpoint.invoke_async(
        Body=b"hello", Filename="answer.txt", S3OutputPathExtension="run/7"
    )
    folder = f"s3://mhcs-local/{NAME}/run/7"
    assert response["OutputLocation"] == f"{folder}/answer.txt"
    assert response["FailureLocation"] == f"{folder}/answer-error.out"
    assert content(s3_folder, response["OutputLocation"]) == b"hello"


def test_error_of_container_is_in_failure_location(
    endpoint: LocalEndpoint, s3_folder: Path
) -> None:
    response = endpoint.invoke_async(Body=do("respond", status=400, body="too long"))
    failure = content(s3_folder, response["FailureLocation"]).decode()
    assert failure.startswith(
        'Received client error (400) from primary with message "too long"'
    )
    assert not (s3_folder / response["OutputLocation"].removeprefix("s3://")).exists()


def test_response_without_length_fails(
    endpoint: LocalEndpoint, s3_folder: Path
) -> None:
    response = endpoint.invoke_async(Body=do("stream"))
    failure = content(s3_folder, response["FailureLocation"])
    assert b"has no Content-Length" in failure


def test_late_response_fails(endpoint: LocalEndpoint, s3_folder: Path) -> None:
    response = endpoint.invoke_async(
        Body=do("wait", name="async"), InvocationTimeoutSeconds=1
    )
    failure = content(s3_folder, response["FailureLocation"])
    endpoint.release("async")
    assert b"has not answered within 1 s" in failure


def test_missing_input_fails(endpoint: LocalEndpoint, s3_folder: Path) -> None:
    response = endpoint.invoke_async(InputLocation="s3://bucket/missing")
    failure = content(s3_folder, response["FailureLocation"])
    assert failure.startswith(b"s3://bucket/missing cannot be read: ")


def test_input_above_limit_fails(
    endpoint: LocalEndpoint, s3_folder: Path, input_file: Path
) -> None:
    large = input_file.with_name("large")
    with large.open("wb") as file:
        file.truncate(1024**3 + 1)  # Sparse.
    response = endpoint.invoke_async(InputLocation="s3://bucket/large")
    failure = content(s3_folder, response["FailureLocation"])
    large.unlink()
    assert (
        f"has {1024**3 + 1} bytes, and SageMaker allows {1024**3}".encode() in failure
    )


def test_output_that_cannot_be_written_is_reported(
    endpoint: LocalEndpoint, s3_folder: Path
) -> None:
    (s3_folder / "mhcs-local" / NAME).mkdir(parents=True, exist_ok=True)
    (s3_folder / "mhcs-local" / NAME / "file").write_text("no folder")
    response = endpoint.invoke_async(Body=b"hello", S3OutputPathExtension="file")
    for _ in polling(PATIENCE_S):
        if f"{response['OutputLocation']} cannot be written" in endpoint.stderr():
            break
    else:
        raise AssertionError(endpoint.stderr())
    assert endpoint.invoke(b"hello")["Body"] == b"hello"


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("s3://bucket/../../secret", "is outside"),
        ("file:///etc/passwd", "is outside"),
        ("file:///a%00b", "file:///a%00b is not a path"),
        ("https://bucket/key", "is not allowed"),
        ("s3://", "is not allowed"),
    ],
)
def test_input_elsewhere_is_refused(
    endpoint: LocalEndpoint, location: str, reason: str
) -> None:
    assert reason in refusal(endpoint, InputLocation=location)


def test_input_behind_a_link_elsewhere_is_refused(
    endpoint: LocalEndpoint, s3_folder: Path, input_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    input_file.with_name("link").symlink_to(tmp_path / "secret")
    assert "is outside" in refusal(endpoint, InputLocation="s3://bucket/link")


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({}, "Give either InputLocation or Body"),
        ({"Body": b"x", "InputLocation": "s3://a/b"}, "Give either"),
        ({"Body": b"x" * 128_001}, "has 128001 bytes, and SageMaker allows 128000"),
        ({"Body": b"x", "S3OutputPathExtension": "../../.."}, "is outside"),
        ({"Body": b"x", "Filename": "a/b"}, "Filename='a/b' is not allowed"),
        ({"Body": b"x", "RequestTTLSeconds": 21601}, "SageMaker allows 60 to 21600"),
        ({"Body": b"x", "InvocationTimeoutSeconds": 3601}, "allows 1 to 3600"),
    ],
    ids=["nothing", "both", "too long", "outside", "name", "ttl", "timeout"],
)
def test_request_is_refused(
    endpoint: LocalEndpoint, parameters: dict[str, Any], reason: str
) -> None:
    assert reason in refusal(endpoint, **parameters)


async def test_request_that_has_waited_too_long_fails(tmp_path: Path) -> None:
    """In this process, as the least RequestTTLSeconds is a minute."""
    output, failure = (File(f"s3://b/{n}", tmp_path / n) for n in ("out", "failed"))
    job = Job("id", {}, b"hello", output, failure, expires=0.0, timeout=1.0)
    container = Container("http://127.0.0.1:1")
    queue = JobQueue(container, S3Folder(tmp_path), pytest.fail)
    queue.add(job)
    while not failure.path.exists():  # noqa: ASYNC110 - a file.
        await asyncio.sleep(0.01)
    assert failure.path.read_text().startswith("The request has expired")
    await queue.aclose()
    await container.aclose()


def test_endpoint_without_folder_is_not_asynchronous(tmp_path: Path) -> None:
    with LocalEndpoint(tmp_path) as endpoint:
        assert "start it with --s3-folder" in refusal(endpoint, Body=b"hello")
