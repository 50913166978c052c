"""An executor for vLLM that returns a token at once, instead of running the model.

    vllm serve MODEL --distributed-executor-backend instant_engine.InstantExecutor

What remains is the work of the API server and of vLLM's scheduler.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Final

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.executor.uniproc_executor import UniProcExecutor
from vllm.v1.outputs import ModelRunnerOutput

#: The id of the token that is always returned.
_TOKEN: Final = 100


class InstantExecutor(UniProcExecutor):  # type: ignore[misc]
    """Loads the model and adapters as usual, and runs none of them."""

    def execute_model(
        self, scheduler_output: SchedulerOutput, non_block: bool = False
    ) -> Any:
        """Return a token for each scheduled request; in a future if ``non_block``."""
        ids = [*scheduler_output.num_scheduled_tokens]
        output = ModelRunnerOutput(
            req_ids=ids,
            req_id_to_index={id_: index for index, id_ in enumerate(ids)},
            sampled_token_ids=[[_TOKEN] for _ in ids],
        )
        if not non_block:
            return output
        future: Future[ModelRunnerOutput] = Future()
        future.set_result(output)
        return future
