"""Sticky sessions: for now, the contract's answers while they are off."""

from .decorators import stateful_session_manager

__all__ = ["stateful_session_manager"]
