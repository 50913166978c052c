"""A customer's script that imports names of the engine, and reports the results."""

import importlib

from fastapi import Request

from model_hosting_container_standards import sagemaker


@sagemaker.invoke
async def look_up(request: Request) -> dict[str, str]:
    """Import ``name`` from ``module``, and compare it with ``same_as``."""
    question = await request.json()
    namespace: dict[str, object] = {}
    try:
        exec("from {module} import {name} as found".format(**question), namespace)
    except ImportError as error:
        return {"error": type(error).__name__}
    module, _, name = question["same_as"].partition(":")
    expected = getattr(importlib.import_module(module), name)
    return {"found": "the same" if namespace["found"] is expected else "another"}
