"""``SAGEMAKER_MAX_NUMBER_OF_ADAPTERS_IN_MEMORY`` as an option of an engine."""

from __future__ import annotations

from collections.abc import Sequence

from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings import Settings

from .command_line import has_option, last_value


def limit_adapters(
    settings: Settings, given: Sequence[str], option: str, slots_option: str
) -> list[str]:
    """Return the option with the variable's value; empty if it is not needed.

    Args:
        given: the arguments so far.
        option: the engine's option for the adapters that it keeps.
        slots_option: the option for those that run at once, which may not be more.

    Raises:
        ConfigurationError: they are more.
    """
    count = settings.adapters_in_memory
    if count is None or not has_option(given, "--enable-lora"):
        return []
    if has_option(given, option):
        return []
    slots = last_value(given, (slots_option,)) or ""
    if slots.isdecimal() and int(slots) > count:
        name = Settings.adapters_in_memory.name
        allowed = f"it must be at least {slots_option}, which is {slots}"
        raise ConfigurationError(name, str(count), allowed)
    return [option, str(count)]
