"""SGLang's own shutdown, once the requests of a server have ended."""

from __future__ import annotations

import asyncio
import functools
from typing import Any, Final

#: Seconds between two looks for SIGTERM; SGLang itself looks every 5 seconds.
_POLL_S: Final = 0.1
#: Seconds that aborted requests may take to leave the engine; SGLang waits for ever.
_ABORT_S: Final = 1.0


def stop_promptly(manager: Any) -> None:
    """Make SGLang stop at once after its SIGTERM handler has run.

    By then this package has finished or aborted all requests.

    Args:
        manager: the tokenizer manager, whose event loop has not started yet.
    """
    watch = manager.sigterm_watchdog

    @functools.wraps(watch)
    async def sigterm_watchdog() -> None:
        while True:
            if manager.gracefully_exit:
                break
            await asyncio.sleep(_POLL_S)
        for request_id in [*manager.rid_to_state]:
            manager.abort_request(request_id)
        for _ in range(round(_ABORT_S / _POLL_S)):
            if not manager.rid_to_state:
                break
            await asyncio.sleep(_POLL_S)
        manager.rid_to_state.clear()
        await watch()

    manager.sigterm_watchdog = sigterm_watchdog
