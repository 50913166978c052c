"""The metrics of sessions, which every table of sessions counts."""

from __future__ import annotations


def count_sessions(begun: int = 0, closed: int = 0, expired: int = 0) -> None:
    """Update the metrics after a change."""
    # Imported late: customers' scripts import this module, too, but need no metrics.
    from ..observability.metrics import BEGUN, CLOSED, EXPIRED

    BEGUN.inc(begun)
    CLOSED.inc(closed)
    EXPIRED.inc(expired)
