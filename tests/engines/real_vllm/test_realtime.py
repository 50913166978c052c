"""vLLM's own ``/v1/realtime`` as a bidirectional stream, as far as a CPU goes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import pytest

from real import ENV, RELEASE, requires_vllm, tiny_model
from servers import run_until_exit

#: The first release with the route, and with the base class that the script relies on.
SINCE: Final = (0, 32)

pytestmark = [
    *requires_vllm,
    pytest.mark.usefixtures("temporary_folder"),
    pytest.mark.skipif(RELEASE < SINCE, reason="needs a newer vLLM"),
]


def test_events_reach_vllm_through_the_stream() -> None:
    script = Path(__file__).with_name("realtime.py")
    command = [sys.executable, str(script), tiny_model()]
    end = run_until_exit(command, env=ENV, timeout=300)
    assert end.status == 0, end.stderr
    created, unknown, unexpected = json.loads(end.stdout.splitlines()[-1])
    assert created["type"] == "session.created"
    assert unknown["code"] == "model_not_found"
    assert unexpected["code"] == "unknown_event"
