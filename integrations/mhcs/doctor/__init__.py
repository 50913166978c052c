"""``mhcs doctor``: report how a server would start here, and what is misconfigured."""

from .examination import examine
from .report import Report, as_json, as_text

__all__ = ["Report", "as_json", "as_text", "examine"]
