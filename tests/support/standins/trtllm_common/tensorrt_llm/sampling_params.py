from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True)
class SamplingParams:
    """What a request asks of the sampler. The stand-in heeds ``max_tokens`` only."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
