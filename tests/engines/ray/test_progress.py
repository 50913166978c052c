"""How long the requests of a model replica have waited for the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from mhcs.ray.progress import RequestProgress


class Outputs:
    """Outputs of a request, one for each :meth:`release`."""

    def __init__(self) -> None:
        self.released: asyncio.Queue[str | None] = asyncio.Queue()
        self.is_closed = False

    async def generate(self) -> AsyncGenerator[str, None]:
        try:
            while (output := await self.released.get()) is not None:
                yield output
        finally:
            self.is_closed = True


def errors() -> None:
    raise AssertionError("There was none.")


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch) -> RequestProgress:
    """Progress by a clock that the tests set, which begins at 100 seconds."""
    set_clock(monkeypatch, 100.0)
    return RequestProgress()


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr("mhcs.ray.progress.monotonic", lambda: seconds)


async def test_silence_is_the_time_since_the_last_output(
    progress: RequestProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = Outputs()
    assert progress.silence() == 0
    followed = progress.follow(outputs.generate(), errors)
    first = asyncio.ensure_future(anext(followed))
    await asyncio.sleep(0)
    set_clock(monkeypatch, 130.0)
    assert progress.silence() == 30
    outputs.released.put_nowait("token")
    assert await first == "token"
    assert progress.silence() == 0
    set_clock(monkeypatch, 150.0)
    assert progress.silence() == 20
    progress.note_progress()
    assert progress.silence() == 0
    outputs.released.put_nowait(None)
    assert [x async for x in followed] == []
    set_clock(monkeypatch, 170.0)
    assert progress.silence() == 0


async def test_closing_closes_the_outputs(progress: RequestProgress) -> None:
    outputs = Outputs()
    followed = progress.follow(outputs.generate(), errors)
    outputs.released.put_nowait("token")
    await anext(followed)
    await followed.aclose()
    assert outputs.is_closed
    assert progress.silence() == 0


async def test_error_is_reported_and_raised(progress: RequestProgress) -> None:
    async def fail() -> AsyncGenerator[str, None]:
        raise RuntimeError("dead")
        yield ""

    reported: list[str] = []
    followed = progress.follow(fail(), lambda: reported.append("error"))
    with pytest.raises(RuntimeError, match="dead"):
        await anext(followed)
    assert reported == ["error"]
    assert progress.silence() == 0
