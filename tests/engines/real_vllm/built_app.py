"""Build vLLM's own app without an engine for each kind of model, and print its routes.

    python built_app.py MODEL KIND...

The kinds are generate and pooling. The app has every route of the release, including
those for developers and adapters.
"""

import inspect
import json
import os
import sys
from importlib import import_module
from typing import Any, Final

import mhcs.auto  # noqa: F401 - patches old releases
from mhcs.vllm import engine
from model_hosting_container_standards.asgi.routing import iter_routes
from model_hosting_container_standards.common.custom_code_ref_resolver import (
    FunctionLoader,
)
from model_hosting_container_standards.customer_code.moved_names import (
    install_moved_names,
)

TASKS: Final = {
    "generate": ("generate", "transcription", "realtime", "render"),
    "pooling": ("embed", "classify", "score", "token_embed", "token_classify"),
}
#: With one label, vLLM both embeds and classifies with the model.
MODEL: Final[dict[str, Any]] = {
    "generate": {},
    "pooling": {"runner": "pooling", "hf_overrides": {"num_labels": 1}},
}

os.environ["VLLM_SERVER_DEV_MODE"] = "1"
os.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"


def build(model: str, kind: str) -> Any:
    load = FunctionLoader().load_function
    make_parser = load("vllm.entrypoints.openai.cli_args:make_arg_parser")
    parser = make_parser(load("vllm.utils:FlexibleArgumentParser")())
    try:
        module = import_module("vllm.entrypoints.launchers.app")
    except ModuleNotFoundError:
        module = import_module("vllm.entrypoints.openai.api_server")
    arguments = parser.parse_args(["--model", model])
    given = {"supported_tasks": TASKS[kind], "model_config": None}
    parameters = inspect.signature(module.build_app).parameters
    if "model_config" in parameters:
        given["model_config"] = load("vllm.config:ModelConfig")(model, **MODEL[kind])
    known = {name: value for name, value in given.items() if name in parameters}
    return module.build_app(arguments, **known)


def methods_of(route: Any) -> Any:
    return getattr(route, "methods", None)


def use_moved_names() -> None:
    """Import vLLM first, because the table depends on its release."""
    import_module("vllm")
    install_moved_names(engine.moved_names)


def main() -> None:
    use_moved_names()
    _, model, *kinds = sys.argv
    reports = {kind: report(build(model, kind)) for kind in kinds}
    sys.stdout.write(json.dumps(reports))


def report(app: Any) -> dict[str, list[str]]:
    posts = {r.path for r in iter_routes(app) if "POST" in (methods_of(r) or ())}
    return {"chosen": sorted(engine.inference_paths(app)), "posts": sorted(posts)}


if __name__ == "__main__":
    main()
