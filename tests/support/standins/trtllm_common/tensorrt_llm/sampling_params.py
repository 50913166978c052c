from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True)
class SamplingParams:
    """Sampling parameters; the stand-in uses only ``max_tokens``."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
