"""The throttle's limit of requests per second, with a test clock."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from customised import client_with
from fixtures import SetLimits
from mhcs.throttle import Throttle


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=[0.0, 1e6 + 1 / 3])
def clock(request: pytest.FixtureRequest) -> Clock:
    return Clock(request.param)


@pytest.fixture
def retry_after(limits: SetLimits, clock: Clock) -> Callable[..., Any]:
    """Return a function that waits, sends a request and returns its Retry-After."""
    clients: list[TestClient] = []

    def ask(per_second: float, after: float = 0.0) -> str | None:
        if not clients:
            limits(per_second=per_second, by_variable=False)
            throttle = functools.partial(Throttle, clock=clock)
            clients.append(client_with(throttle=throttle))
        clock.now += after
        answer = clients[0].post("/invocations")
        if answer.status_code == 200:
            return None
        assert answer.status_code == 429
        seconds: str = answer.headers["retry-after"]
        return seconds

    return ask


@pytest.mark.parametrize("rate", [1, 2, 3, 7, 20, 49])
def test_burst_of_one_second_is_allowed(
    retry_after: Any, clock: Clock, rate: int
) -> None:
    full = [None] * rate + ["1"]
    assert [retry_after(rate) for _ in range(rate + 1)] == full
    # The burst is the same after a second and after a minute.
    for pause in (1.0 + 1e-6, 60.0):
        clock.now += pause
        assert [retry_after(rate) for _ in range(rate + 1)] == full


def test_rate_applies_after_burst(retry_after: Any) -> None:
    assert [retry_after(4) for _ in range(4)] == [None] * 4
    for _ in range(20):
        assert retry_after(4, after=0.125) == "1"
        assert retry_after(4, after=0.125 + 1e-6) is None


@pytest.mark.parametrize(
    ("rate", "waits"), [(0.5, ["2", "1"]), (0.1, ["10", "9"]), (0.01, ["100", "99"])]
)
def test_rate_below_one_per_second(
    retry_after: Any, rate: float, waits: list[str]
) -> None:
    assert retry_after(rate) is None
    assert retry_after(rate) == waits[0]
    assert retry_after(rate, after=1.0) == waits[1]
    assert retry_after(rate, after=1 / rate - 1.5) == "1"
    assert retry_after(rate, after=0.5 + 1e-6) is None
    assert retry_after(rate) == waits[0]


def test_retry_after_is_long_enough(retry_after: Any) -> None:
    assert retry_after(0.3) is None
    for _ in range(50):
        wait = retry_after(0.3)
        assert retry_after(0.3, after=float(wait)) is None


def test_rejected_request_does_not_count(retry_after: Any) -> None:
    assert retry_after(1) is None
    for _ in range(100):
        assert retry_after(1) == "1"
    assert retry_after(1, after=1.0 + 1e-6) is None
