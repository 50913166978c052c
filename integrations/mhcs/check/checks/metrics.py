"""Checks of /metrics."""

from __future__ import annotations

import re
from typing import Final

from ..check import check
from ..container import Container
from ..expect import expect, expect_status, require_route

_SAMPLE: Final = re.compile(r"[a-zA-Z_:][\w:]*(\{.*\})? \S+( \d+)?( # .*)?", re.ASCII)


@check("metrics-page", "GET /metrics is a page for Prometheus", "reference/metrics.md")
def page(container: Container) -> str:
    exchange = expect_status(require_route(container.get("/metrics")), 200)
    samples = [line for line in exchange.lines if not line.startswith("#")]
    wrong = [line for line in samples if not _SAMPLE.fullmatch(line)]
    expect(not wrong, f"not a sample: {wrong[:1]}")
    expect(bool(samples), "the page has no samples")
    return f"{len(samples)} samples"
