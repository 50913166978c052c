"""A server's SIGTERM handler is distinguished from the process's own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from model_hosting_container_standards.shutdown.deferred_signals import DeferredSignals


@pytest.fixture(autouse=True)
def own_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)


def deferred() -> DeferredSignals:
    signals = DeferredSignals([signal.SIGTERM], lambda _: None)
    signals.install(asyncio.get_running_loop())
    return signals


async def test_handler_of_process_does_not_end_the_server() -> None:
    signals = deferred()
    assert not signals.ends_server(signal.SIGTERM)
    signals.remove()


async def test_handler_of_event_loop_ends_the_server() -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: None)
    signals = deferred()
    assert signals.ends_server(signal.SIGTERM)
    signals.remove()
    loop.remove_signal_handler(signal.SIGTERM)


async def test_two_apps_of_one_process_see_the_same_handler() -> None:
    first = deferred()
    second = deferred()
    assert not second.ends_server(signal.SIGTERM)
    second.remove()
    first.remove()


async def test_installing_twice_keeps_original_handler() -> None:
    """An app whose lifespan is entered twice installs twice."""
    original = signal.getsignal(signal.SIGTERM)
    signals = deferred()
    signals.install(asyncio.get_running_loop())
    assert not signals.ends_server(signal.SIGTERM)
    signals.remove()
    assert signal.getsignal(signal.SIGTERM) is original
