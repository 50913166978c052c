"""Serves a model by Ray Serve LLM on a cluster whose nodes are all on this machine.

    build/ray-2.60.0/bin/python tools/ray_cluster.py build/tiny-llama --port 8080

It has the environment of a Ray with this package: its classes serve, and a middleware
of Ray's proxy chooses the ids of requests. SIGTERM ends the cluster.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

#: Without this memory, a node does not start.
OBJECT_STORE_BYTES: Final = 80 * 2**20
#: What Ray's processes inherit. Without the hook, they can be started beforehand.
ENVIRONMENT: Final = {
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "mhcs.ray.proxy_middleware",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAYLLM_ENABLE_WORKER_PROCESS_SETUP_HOOK": "0",
}
#: CPUs of a model replica: one of its own, and one for its engine.
REPLICA_CPUS: Final = 2
INGRESS_CPUS: Final = 0.1
START_TRIES: Final = 4

T = TypeVar("T")


def main() -> None:
    arguments = parse()
    os.environ.update(ENVIRONMENT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with temporary_folder(), cluster(arguments.nodes, arguments.replicas):
        serve_app(arguments)
        print("ready", flush=True)
        while True:
            signal.pause()


@contextmanager
def temporary_folder() -> Iterator[None]:
    """Have Ray's files in a folder that is removed, unless the environment has one.

    Sockets are in it, so that its path must be short. Ray reads it when imported.
    """
    if "RAY_TMPDIR" in os.environ:
        yield
        return
    with TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder
        yield


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ray_cluster", description=__doc__)
    parser.add_argument("model", help="the model's folder")
    parser.add_argument("--name", default="tiny", help="the model's name in requests")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--replicas", type=int, default=2, help="of the model")
    parser.add_argument("--ingress-replicas", type=int, default=2)
    parser.add_argument(
        "--components", nargs="*", default=(), help="inference components of the model"
    )
    parser.add_argument("--lora", action="store_true", help="serve adapters")
    parser.add_argument(
        "--plain", action="store_true", help="without this package, to compare with it"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    return parser.parse_args()


@contextmanager
def cluster(nodes: int, replicas: int) -> Iterator[None]:
    """Start the nodes, over which the replicas have to be spread, and end them."""
    import ray
    from ray.cluster_utils import Cluster

    per_node = -(-replicas // nodes)
    options = {
        # One more, of which only ingress replicas use some.
        "num_cpus": per_node * REPLICA_CPUS + 1,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    head = {**options, "include_dashboard": False}
    started = persistently(lambda: Cluster(initialize_head=True, head_node_args=head))
    try:
        for _ in range(nodes - 1):
            persistently(lambda: started.add_node(**options))
        ray.init(address=started.address)
        # Ray's own handler would not shut Serve down.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop_serve()
        ray.shutdown()
        started.shutdown()


def persistently(start: Callable[[], T]) -> T:
    """Start a node, again if it fails: Ray gives it 30 seconds, busy machines or not.

    What a failed one leaves behind ends with this process.
    """
    for _ in range(START_TRIES - 1):
        try:
            return start()
        except Exception as error:  # noqa: BLE001 - Ray raises no other class
            print(error, file=sys.stderr, flush=True)
    return start()


def stop_serve() -> None:
    """End the replicas: their engines are processes of their own."""
    import ray
    from ray import serve

    if ray.is_initialized():
        serve.shutdown()


def serve_app(arguments: argparse.Namespace) -> None:
    """Return once all replicas are running."""
    from ray import serve
    from ray.serve.llm import build_openai_app

    address = {"host": arguments.host, "port": arguments.port}
    serve.start(http_options={**address, "location": "HeadOnly"})
    app = build_openai_app(serve_config(arguments))
    # Another program may then change the numbers of replicas.
    serve.run(app, external_scaler_enabled=True)


def serve_config(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what a Serve configuration has as its ``args``."""
    components = dict.fromkeys(arguments.components, arguments.name)
    ours = {
        "ingress_cls": "mhcs.ray:SageMakerIngress",
        "ingress_extra_kwargs": {"inference_components": components},
    }
    return {
        "llm_configs": [model_config(arguments)],
        "ingress_cls_config": {} if arguments.plain else ours,
        "ingress_deployment_config": {
            "num_replicas": arguments.ingress_replicas,
            "autoscaling_config": None,
            "ray_actor_options": {"num_cpus": INGRESS_CPUS},
        },
    }


def model_config(arguments: argparse.Namespace) -> dict[str, Any]:
    engine: dict[str, Any] = {"max_model_len": 256, "enforce_eager": True}
    if arguments.lora:
        # vLLM's CPU build applies the last slot to requests without an adapter that are
        # batched with others, so one slot has to stay empty.
        engine |= {"enable_lora": True, "max_loras": 16, "max_lora_rank": 8}
    ours = {} if arguments.plain else {"server_cls": "mhcs.ray:SageMakerLLMServer"}
    return {
        **ours,
        "model_loading_config": {
            "model_id": arguments.name,
            "model_source": str(Path(arguments.model).resolve()),
        },
        "deployment_config": {
            "num_replicas": arguments.replicas,
            "autoscaling_config": None,
            "ray_actor_options": {"num_cpus": 1},
        },
        "engine_kwargs": engine,
        # On the ingress' page, and not on those of the nodes.
        "log_engine_metrics": False,
        "accelerator_type": None,
        "placement_group_config": {"bundles": [{"CPU": REPLICA_CPUS - 1}]},
    }


if __name__ == "__main__":
    main()
