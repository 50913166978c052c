"""Tables for ``matrix.py``: engines, releases, columns of tests, facts from sources."""

from typing import Final, NamedTuple

#: Newer than every release that has a number.
MAIN: Final = "main"
#: Newer than everything.
NEVER: Final = "1000000"
STAND_IN: Final = "stand-in"

#: Names of the engines in labels (that of the distribution) and in the table.
ENGINES: Final = {
    "vllm": "vLLM",
    "sglang": "SGLang",
    "tensorrt-llm": "TensorRT-LLM",
    "ray": "Ray Serve LLM",
}
#: Releases that have a row even if they were not tested.
RELEASES: Final = {
    "vllm": (
        *("0.6.6", "0.8.5", "0.10.2", "0.11.0", "0.11.2", "0.13.0"),
        *("0.17.1", "0.21.0", "0.24.0", "0.28.0", "0.32.0"),
    ),
    "sglang": ("0.5.10", "0.5.15", "0.5.23"),
    "tensorrt-llm": ("0.17", "0.21", "1.0", "1.2", "1.3", MAIN),
    "ray": ("2.56.0", "2.57.0", "2.58.0", "2.59.0", "2.60.0"),
}
ACTIVATIONS: Final = ("bootstrap", "hook", ".pth", "mhcs run")
FEATURES: Final = (
    *("handlers", "moved names", "adapters", "two processes"),
    *("sessions", "middleware", "streams", "disconnects"),
)


class Span(NamedTuple):
    """The releases of an engine from ``first`` to the last one before ``below``."""

    engine: str
    first: str
    below: str = NEVER


#: Releases that are patched alike: vLLM's ``build_app`` has the same module and
#: signature, the ``__init__`` of TensorRT-LLM's server has the same signature, SGLang
#: runs its server and its workers in the same way, or Ray calls the same methods.
ALIKE: Final = {
    Span("vllm", "0.6", "0.7"): "0.6",
    Span("vllm", "0.7", "0.10"): "0.7 - 0.9",
    Span("vllm", "0.10", "0.11.1"): "0.10 - 0.11.0",
    Span("vllm", "0.11.1", "0.16"): "0.11.1 - 0.15",
    Span("vllm", "0.16", "0.19"): "0.16 - 0.18",
    Span("vllm", "0.19", "0.24"): "0.19 - 0.23",
    Span("vllm", "0.24", "0.29"): "0.24 - 0.28",
    Span("vllm", "0.29", "0.34"): "0.29 - 0.33",
    Span("sglang", "0.5.9", "0.5.10"): "0.5.9",
    Span("sglang", "0.5.10", "0.5.11"): "0.5.10",
    Span("sglang", "0.5.11", "0.5.23"): "0.5.11 - 0.5.22",
    Span("sglang", "0.5.23"): "0.5.23 and newer",
    Span("tensorrt-llm", "0.17", "0.20"): "0.17 - 0.19",
    Span("tensorrt-llm", "0.20", "1.1"): "0.20 - 1.0",
    Span("tensorrt-llm", "1.2", "1.3"): "1.2",
    Span("tensorrt-llm", "1.3"): "1.3 and newer",
    Span("ray", "2.56"): "2.56 and newer",
}
#: The releases that each folder of ``tests/support/standins``, a test id, represents.
STAND_INS: Final = {
    "v0_6": Span("vllm", "0.6", "0.7"),
    "v0_10": Span("vllm", "0.7", "0.11.1"),
    "v0_28": Span("vllm", "0.11.1", "0.29"),
    "v0_29": Span("vllm", "0.29"),
    "trtllm_0_17": Span("tensorrt-llm", "0.17", "0.20"),
    "trtllm_0_21": Span("tensorrt-llm", "0.20", "1.0"),
    "trtllm_1_0": Span("tensorrt-llm", "1.0", "1.1"),
    "trtllm_1_2": Span("tensorrt-llm", "1.2", "1.3"),
    "trtllm_1_3": Span("tensorrt-llm", "1.3", MAIN),
    "trtllm_main": Span("tensorrt-llm", MAIN),
}

# --- what a test shows -------------------------------------------------------------

# Tests are named as in the XML:
# `tests.engines.real_vllm.test_adapters::test_name[its-id]`.
STAND_IN_ID: Final = r"\[(?:.*-)?(v\d+_\d+|trtllm_(?:\d+_\d+|main))[-\]]"
#: Tests of a real engine. If two engines share a suite, the test id has the engine.
REAL: Final = {
    r"tests\.engines\.real_vllm\.": "vllm",
    r"tests\.engines\.real_sglang\.": "sglang",
    r"tests\.engines\.real_ray\.": "ray",
    r"gpu_tests\.\w+::\w+\[(?:.*-)?vllm[-\]]": "vllm",
    r"gpu_tests\.\w+::\w+\[(?:.*-)?sglang[-\]]": "sglang",
    r"gpu_tests\.\w+::\w+\[(?:.*-)?trtllm-serve[-\]]": "tensorrt-llm",
}
_REAL: Final = r"tests\.engines\.real_vllm\.test_"
_PROMISE: Final = (
    r"(?:tests\.contract\.promises\.\w+|tests\.engines\.real_\w+\.test_promises"
    r"|gpu_tests\.test_promises)::test_"
)
_PATCHED: Final = r"(?!tests\.engines\.real_ray\.)" + _PROMISE
_ON_RAY: Final = r"tests\.engines\.real_ray\.test_"
_WAYS_IN: Final = r"tests\.engines\.real_sglang\.test_ways_in::test_"
#: Tests that fail if an activation method adds no routes, or adds them twice.
_ACTIVATION: Final = r"tests\.engines\.\w+\.test_activation::test_"
_ACTIVATED: Final = _ACTIVATION + r"(?:customers|routes)_\w+"
_METHOD: Final = _ACTIVATED + r"\[(?:.*-)?"
_SESSIONS: Final = _REAL + "sessions_and_middleware::test_"

#: The columns that tests matching a pattern count for. Other tests are ignored.
SHOWN: Final = {
    _METHOD + "its own call": ("bootstrap",),
    _METHOD + r"import mhcs\.auto\]": ("hook",),
    _METHOD + r"mhcs run\]": ("mhcs run",),
    # Not "its own call and MHCS_AUTO=1", which would pass without the variable.
    _METHOD + r"(?:MHCS_AUTO=1|SAGEMAKER_MODEL_PATH|python -m)\]": (".pth",),
    _ACTIVATION + "customers_": ("handlers",),
    _WAYS_IN + "plugin_": ("bootstrap",),
    _WAYS_IN + "script_imports_auto": ("hook",),
    _WAYS_IN + "variable_": (".pth",),
    _WAYS_IN + "mhcs_run_": ("mhcs run",),
    r"tests\.engines\.real_sglang\.test_engine::test_no_text_": ("two processes",),
    _ON_RAY + "promises::test_(?:ping|invocations)_answers": ("bootstrap",),
    _ON_RAY + "failures::": ("two processes",),
    r"tests\.engines\.vllm\.test_old_import_paths::test_"
    r"(?:ping|script_handler|moved_name|unmoved_name|unknown_name)_": ("moved names",),
    _REAL + "customer_scripts::": ("handlers",),
    _REAL + "customer_scripts::test_every_process_": ("two processes",),
    _REAL + r"customer_scripts::\w+_stream": ("streams",),
    _REAL + "contract_example::": ("handlers", "moved names"),
    _REAL + "moved_names::": ("moved names",),
    _REAL + r"adapters\w*::": ("adapters",),
    _REAL + r"adapters\w*::.*\[.*two processes": ("two processes",),
    _REAL + r"engine_routes::\w+_adapter": ("adapters",),
    _REAL + r"engine_routes::\w+_streamed": ("streams",),
    _SESSIONS + "(?:conversation|concurrent_sessions|session)_": ("sessions",),
    _SESSIONS + "(?:middleware|formatter|throttle|stream)_": ("middleware",),
    _SESSIONS + "stream_": ("streams",),
    _PROMISE + "(?:script_handlers|handlers_from|missing_handler)_": ("handlers",),
    _PROMISE + r"\w+\[.*(?:one process|two processes)": ("adapters",),
    _PROMISE + "restarted_server_": ("adapters",),
    _PROMISE + r"\w+\[.*two processes": ("two processes",),
    _PROMISE + "(?:session|concurrent_sessions)_": ("sessions",),
    _PROMISE + "(?:middleware|throttle|input_formatter|stream_passes)_": (
        "middleware",
    ),
    _PROMISE + r"(?:stream_|\w+_streamed)": ("streams",),
    _PROMISE + "disconnect_": ("disconnects",),
}
#: Releases that call ``bootstrap`` by themselves.
CALL_US: Final = Span("vllm", "0.11.1")
#: Additional patterns for such releases: servers without a variable for the patch.
SHOWN_UNASKED: Final = {
    _REAL + "adapters::test_(?:each_adapter|all_clients)_": ("bootstrap",),
}
#: Additional patterns for other releases: servers that are patched by a variable.
SHOWN_PATCHED: Final = {
    _REAL + "engine_routes::test_(?:ping|log|completion)_": (".pth",),
    _PATCHED + "(?:ping_answers|invocations_answers|script_handlers)_": (".pth",),
}

# --- what was read -----------------------------------------------------------------

SOURCE: Final = "source"
ABSENT: Final = "-"
#: Facts read in the sources of releases, which need no test.
READ: Final = {
    # In the releases that call bootstrap, it is the last step of build_app.
    Span("vllm", "0", "0.11.1"): {"bootstrap": ABSENT},
    Span("vllm", "0.11.1"): {"bootstrap": SOURCE},
    # The module that defines build_app; an import hook there runs early enough.
    Span("vllm", "0.6"): {"hook": SOURCE, ".pth": SOURCE, "mhcs run": SOURCE},
    # The old and the new path of each moved name, and load_lora_adapter.
    Span("vllm", "0.7"): {"moved names": SOURCE, "adapters": SOURCE},
    # --api-server-count was added in 0.9.
    Span("vllm", "0", "0.9"): {"two processes": ABSENT},
    # SGLang calls plugins since 0.5.11. Scripts import nothing that has moved.
    Span("sglang", "0", "0.5.11"): {"bootstrap": ABSENT},
    Span("sglang", "0.5"): {"moved names": ABSENT},
    # The ingress class of the configuration calls it. Scripts import nothing of Ray.
    Span("ray", "2.56"): dict.fromkeys(
        ("hook", ".pth", "mhcs run", "moved names"), ABSENT
    ),
    # No release has our routes. Every release creates the app in __init__, after which
    # routes and middleware can be added.
    Span("tensorrt-llm", "0.17"): {
        "bootstrap": ABSENT,
        **dict.fromkeys(("hook", ".pth", "mhcs run", "handlers", "middleware"), SOURCE),
    },
    # Since 1.0, requests may have an adapter.
    Span("tensorrt-llm", "0", "1.0"): {"adapters": ABSENT},
    Span("tensorrt-llm", "1.0"): {"adapters": SOURCE},
    # Only the main branch has --num_serve_frontends.
    Span("tensorrt-llm", "0", MAIN): {"two processes": ABSENT},
    Span("tensorrt-llm", MAIN): {"two processes": SOURCE},
}
