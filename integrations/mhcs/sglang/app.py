"""SGLang's app with SageMaker's contract, for ``SGLANG_HTTP_SERVER_APP_PATH``.

With several tokenizer workers, each is a process that imports this module.
"""

from __future__ import annotations

from sglang.srt.entrypoints.http_server import app

from .hooks import bootstrap_app

__all__ = ["app"]

bootstrap_app(app)
