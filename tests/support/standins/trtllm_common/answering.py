"""The text that the model generates: its weights and the prompt, one token a word.

``base: hello`` is the base model's answer to "hello". In a prompt

- ``<chunks:N>`` makes the text N tokens long (``base 0``, ``base 1``, ...);
- ``<wait>`` makes it wait before its last token, until the generation is aborted or
  the file named by ``TRTLLM_STANDIN_GATE`` exists.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

_POLL_S = 0.02


def tokens_of(weights: str, prompt: str | Sequence[int]) -> list[str]:
    """Return the words of the whole text."""
    text = prompt if isinstance(prompt, str) else " ".join(map(str, prompt))
    if wanted := re.search(r"<chunks:(\d+)>", text):
        return [f"{weights} {number} " for number in range(int(wanted[1]))]
    return re.findall(r"\S+\s*", f"{weights}: {text}")


def generate(
    tokens: Sequence[str], waits: bool, aborted: threading.Event
) -> Iterator[str]:
    """Yield the tokens, until the generation is aborted."""
    for number, token in enumerate(tokens, start=1):
        if waits and number == len(tokens):
            _wait(aborted)
        if aborted.is_set():
            return
        yield token


def _wait(aborted: threading.Event) -> None:
    gate = os.environ.get("TRTLLM_STANDIN_GATE")
    while not (gate and Path(gate).exists()):
        if aborted.wait(_POLL_S):
            return
