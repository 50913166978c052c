"""Talk to vLLM's own ``/v1/realtime``, without an engine, and print its events.

    python realtime.py MODEL

The events are sent as SageMaker sends them, as binary messages. Only models of speech
have the route, which are too large for a test.
"""

import json
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Final

# Beside this file:
from built_app import build, use_moved_names  # type: ignore[import-not-found]
from starlette.testclient import TestClient

STREAM: Final = "/invocations-bidirectional-stream"
PATHS: Final = (
    "vllm.entrypoints.speech_to_text.realtime.serving",
    "vllm.entrypoints.openai.realtime.serving",
)
EVENTS: Final = (
    {"type": "session.update", "model": "unknown"},
    {"type": "session.update", "model": "known"},
    {"type": "no such type"},
)


def serving() -> Any:
    """Return vLLM's object behind the route, with the names of its models alone."""
    for path in PATHS:
        try:
            found = import_module(path).OpenAIServingRealtime
        except ModuleNotFoundError:
            continue
        made = object.__new__(found)
        made.models = SimpleNamespace(is_base_model=lambda name: name == "known")
        return made
    raise SystemExit("This release has no realtime route.")


def talk(client: Any) -> list[Any]:
    with client.websocket_connect(STREAM) as websocket:
        events = [websocket.receive_json()]
        for event in EVENTS:
            websocket.send_bytes(json.dumps(event).encode())
            if event.get("model") != "known":  # It has no answer.
                events.append(websocket.receive_json())
        return events


def main() -> None:
    use_moved_names()
    app = build(sys.argv[1], "generate")
    app.state.openai_serving_realtime = serving()
    sys.stdout.write(f"\n{json.dumps(talk(TestClient(app)))}")


if __name__ == "__main__":
    main()
