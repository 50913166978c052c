"""How long supervisord's main loop waits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any, Final

import pytest
from supervisor.options import ServerOptions

from model_hosting_container_standards.supervisor.poller import SignalPoller

PATIENCE_S: Final = 10


@pytest.fixture
def poller() -> Iterator[SignalPoller]:
    """A poller that waits for longer than the test, whose end is an error."""
    poller = SignalPoller(ServerOptions())
    poller.longest_s = 10 * PATIENCE_S
    previous = signal.signal(signal.SIGALRM, _fail)
    signal.alarm(PATIENCE_S)
    yield poller
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)
    poller.close()


def _fail(*_: Any) -> None:
    raise TimeoutError(f"the poll has not returned in {PATIENCE_S} s")


def test_first_poll_does_not_wait(poller: SignalPoller) -> None:
    assert poller.poll(poller.longest_s) == ([], [])


def test_signal_ends_a_poll(poller: SignalPoller) -> None:
    poller.poll(poller.longest_s)
    previous = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert poller.poll(poller.longest_s) == ([], [])
    finally:
        signal.signal(signal.SIGUSR1, previous)
