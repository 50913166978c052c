"""``mhcs doctor``: what a server started here and now would do, and what is wrong."""

from .examination import examine
from .report import Report, as_json, as_text

__all__ = ["Report", "as_json", "as_text", "examine"]
