"""A report as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ..report import Report, Result


def as_json(report: Report) -> str:
    """Return the report as a JSON object."""
    document = {
        "url": report.url,
        "started": report.started,
        "seconds": round(report.seconds, 3),
        "counts": report.counts,
        "checks": [_check(report, result) for result in report.results],
        "latencies": report.latencies,
        "not_removed": report.left,
    }
    return json.dumps(document, indent=2) + "\n"


def _check(report: Report, result: Result) -> dict[str, Any]:
    return {
        "name": result.check.name,
        "title": result.check.title,
        "documentation": report.documentation(result.check),
        "status": result.status.value,
        "finding": result.finding,
        "seconds": round(result.seconds, 3),
        "exchanges": [asdict(excerpt) for excerpt in result.excerpts],
        "exchanges_omitted": result.omitted,
    }
