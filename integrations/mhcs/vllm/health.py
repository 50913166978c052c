"""Whether vLLM's engine answers."""

from __future__ import annotations

from typing import Any

from model_hosting_container_standards.exceptions import EngineUnhealthyError


async def check(client: Any) -> None:
    """Return once the engine's own loop has answered; a render server has none.

    ``check_health`` sees engines that are dead. One that is stopped, or waits for a
    worker that is, answers no call at all; the cheapest is whether it sleeps.

    Raises:
        EngineUnhealthyError: the engine is dead.
    """
    if client is None:
        return
    try:
        await client.check_health()
    except Exception as error:
        raise _dead(error) from error
    if ask := getattr(client, "is_sleeping", None):
        try:
            await ask()
        except Exception as error:
            # Any other error is an answer.
            if type(error).__name__ == "EngineDeadError":
                raise _dead(error) from error


def _dead(error: Exception) -> EngineUnhealthyError:
    return EngineUnhealthyError(f"vLLM's engine is dead: {str(error) or repr(error)}")
