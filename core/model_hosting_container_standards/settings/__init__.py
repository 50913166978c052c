"""Environment variables: one table, one frozen :class:`Settings`."""

from .table import READ_BY_SERVERS, Settings, Variable, read_settings, variables

__all__ = ["READ_BY_SERVERS", "Settings", "Variable", "read_settings", "variables"]
