"""Adapters of an application: registered by any ingress, loaded by all replicas."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, Final

import pytest
from fastapi import HTTPException
from fastapi.testclient import TestClient

from adapter_engine import write_adapter
from fixtures import Script
from metrics_page import scrape
from ray_serving import Model, coordinator, replace_lora_request, serving
from servers import polling

PATIENCE_S: Final = 10.0
HEADER = "X-Amzn-SageMaker-Adapter-Identifier"
ROUTES = ("/invocations", "/v1/completions")


@pytest.fixture(autouse=True)
def soon(ray_standin: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once, and do not wait for what will not come."""
    import mhcs.ray.connection
    import mhcs.ray.model_adapters

    replace_lora_request(monkeypatch)
    monkeypatch.setattr(mhcs.ray.connection, "_RETRY_S", 0.01)
    monkeypatch.setattr(mhcs.ray.model_adapters, "_WAIT_S", 0.05)
    monkeypatch.setattr(mhcs.ray.model_adapters, "_UNLOAD_WAIT_S", 0.05)
    monkeypatch.setattr(mhcs.ray.model_adapters, "_POLL_S", 0.01)
    monkeypatch.setattr(
        "mhcs.ray.coordinator.end_process", lambda: coordinator().kill()
    )


@pytest.fixture
def model() -> Model:
    """A model with two replicas."""
    model = Model()
    model.start()
    model.start()
    return model


@pytest.fixture
def client(model: Model) -> Iterator[TestClient]:
    with serving(tiny=model.handle) as client:
        yield client


@pytest.fixture
def cats(tmp_path: Path) -> str:
    return write_adapter(tmp_path / "cats", "meow")


@pytest.fixture
def dogs(tmp_path: Path) -> str:
    return write_adapter(tmp_path / "dogs", "woof")


def register(client: TestClient, src: str, name: str = "cats", **options: Any) -> Any:
    return client.post("/adapters", json={"name": name, "src": src, **options})


def ask(
    client: TestClient,
    model: str | None = None,
    route: str = "/invocations",
    **headers: str,
) -> Any:
    body = {"model": model, "prompt": "hello"}
    return client.post(route, json=body, headers=headers)


def wait_for(condition: Callable[[], object]) -> bool:
    """Return whether a condition becomes true."""
    return any(condition() for _ in polling(PATIENCE_S))


def texts(client: TestClient, model: str) -> set[str]:
    """Return the texts of both replicas, which answer in turn."""
    return {ask(client, model).json()["text"] for _ in range(2)}


def die_after(method: str) -> None:
    """Let the coordinator die after its next call of a method, before it answers."""
    coordinator().dies_after = lambda _, name, *__: name == method


def fail_gcs(monkeypatch: pytest.MonkeyPatch, part: bytes = b"") -> None:
    """Let writes of keys with this part fail."""
    from ray._raylet import store
    from ray.exceptions import RpcError

    def before(method: str, key: Any) -> None:
        if method in ("put", "del") and part in key:
            raise RpcError("192.0.2.1 is gone.")

    monkeypatch.setattr(store, "before", before)


def test_adapter_is_loaded_into_all_replicas(
    model: Model, client: TestClient, cats: str, dogs: str
) -> None:
    answer = register(client, cats)
    assert (answer.status_code, answer.text) == (200, "Adapter cats registered")
    assert [each.names() for each in model.clients] == [["cats"], ["cats"]]
    assert texts(client, "cats") == {"meow"}
    [listed] = client.get("/adapters").json()["adapters"]
    assert listed == client.get("/adapters/cats").json()
    assert listed["status"] == "loaded"
    assert register(client, dogs).status_code == 409
    assert register(client, dogs, load_inplace=True).status_code == 200
    assert texts(client, "cats") == {"woof"}
    assert [len(each.loaded) for each in model.clients] == [1, 1]
    assert client.delete("/adapters/cats").status_code == 200
    assert [each.names() for each in model.clients] == [[], []]
    assert client.delete("/adapters/cats").status_code == 404
    assert ask(client, "cats").status_code == 404


@pytest.mark.parametrize("route", ROUTES)
def test_adapter_answers_by_all_its_names(
    client: TestClient, cats: str, route: str
) -> None:
    register(client, cats)
    answers = [
        ask(client, "cats", route),
        ask(client, "tiny:cats", route),
        ask(client, None, route, **{HEADER: "cats"}),
        ask(client, "tiny", route, **{HEADER: "cats"}),
    ]
    expected = {"model": "tiny", "text": "meow", "asked": "cats"}
    assert [answer.json() for answer in answers] == [expected] * 4
    assert ask(client, "tiny", route).json()["text"] == "base"
    assert ask(client, "", route).json()["text"] == "base"


@pytest.mark.parametrize("name", ["unknown", "tiny:unknown"])
@pytest.mark.parametrize("route", ROUTES)
def test_unknown_name_is_a_404_with_what_there_is(
    client: TestClient, cats: str, name: str, route: str
) -> None:
    register(client, cats)
    answer = ask(client, name, route)
    assert answer.status_code == 404
    expected = f"The model {name!r} does not exist. Available: tiny, cats."
    assert answer.json()["detail"] == expected


def test_unknown_header_is_a_404(client: TestClient) -> None:
    answer = ask(client, **{HEADER: "unknown"})
    assert answer.status_code == 404
    assert "'unknown' does not exist" in answer.text


def test_adapter_without_preload_is_loaded_when_it_is_used(
    model: Model, client: TestClient, cats: str
) -> None:
    register(client, cats, preload=False)
    assert [each.names() for each in model.clients] == [[], []]
    assert client.get("/v1/models/cats").json()["id"] == "cats"
    assert texts(client, "cats") == {"meow"}
    assert [each.names() for each in model.clients] == [["cats"], ["cats"]]


def test_models_list_has_adapters(client: TestClient, cats: str) -> None:
    register(client, cats)
    ids = [card["id"] for card in client.get("/v1/models").json()["data"]]
    assert ids == ["tiny", "cats"]
    assert client.get("/v1/models/cats").json()["id"] == "cats"
    assert client.get("/v1/models/tiny").json()["id"] == "tiny"
    assert client.get("/v1/models/dogs").status_code == 404


def test_pins_are_those_of_all_replicas(
    model: Model, client: TestClient, cats: str
) -> None:
    register(client, cats, pin=True)
    assert [len(each.pinned) for each in model.clients] == [1, 1]
    model.start()
    assert [len(each.pinned) for each in model.clients] == [1, 1, 1]
    client.post("/adapters/cats/update", json={"pin": False})
    assert [len(each.pinned) for each in model.clients] == [0, 0, 0]
    assert texts(client, "cats") == {"meow"}


def test_pin_that_a_new_replica_cannot_load_is_logged(
    model: Model, client: TestClient, cats: str, caplog: pytest.LogCaptureFixture
) -> None:
    register(client, cats, pin=True)
    failing = Model()

    async def refuse(_: Any) -> None:
        raise RuntimeError("No memory is left.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray_serving.Client.add_lora", lambda _, request: refuse(request))
        failing.start()
    assert "Adapter 'cats' cannot be pinned or unpinned: " in caplog.text


def test_capacity_is_that_of_the_engine(client: TestClient, cats: str) -> None:
    for name in ("one", "two"):
        assert register(client, cats, name).status_code == 200
    answer = register(client, cats, "three", pin=True)
    assert answer.status_code == 507
    assert "max_loras in engine_kwargs" in answer.text
    assert register(client, cats, "tiny").status_code == 409


def test_folder_is_checked_by_a_replica(client: TestClient, tmp_path: Path) -> None:
    answer = register(client, str(tmp_path / "nothing"))
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


def test_model_needs_lora(cats: str) -> None:
    model = Model(lora=False)
    model.start()
    with serving(tiny=model.handle) as client:
        answer = register(client, cats)
    assert answer.status_code == 400
    assert "set enable_lora in the engine_kwargs of a model" in answer.text


class Plain:
    """A replica of Ray's own class."""

    async def check_health(self) -> None: ...


def test_replicas_need_our_class(cats: str) -> None:
    from ray.serve.handle import DeploymentHandle

    handle = DeploymentHandle("LLMServer:tiny", r0=Plain())
    with serving(tiny=handle) as client:
        answer = register(client, cats)
    assert answer.status_code == 400
    assert "set server_cls to mhcs.ray:SageMakerLLMServer" in answer.text
    assert "Traceback" not in answer.text


def test_application_without_models_loads_none(cats: str) -> None:
    with serving() as client:
        answer = register(client, cats)
    assert (answer.status_code, "has no model" in answer.text) == (400, True)


def test_only_one_model_may_load_adapters(cats: str) -> None:
    first, second = Model("first"), Model("second")
    first.start()
    second.start()
    with serving(first=first.handle, second=second.handle) as client:
        answer = register(client, cats)
    assert answer.status_code == 400
    assert "Several models load adapters (first, second)" in answer.text


def test_adapter_belongs_to_the_model_that_loads_it(cats: str) -> None:
    from ray.serve.handle import DeploymentHandle

    second = Model("second")
    second.start()
    plain = DeploymentHandle("LLMServer:first", r0=Plain())
    with serving(first=plain, second=second.handle) as client:
        assert register(client, cats).status_code == 200
        for name in ("cats", "second:cats"):
            assert ask(client, name).json()["model"] == "second"
        assert ask(client, "first:cats").status_code == 404
        assert client.get("/v1/models/cats").json()["id"] == "cats"
        assert ask(client, "").status_code == 400


def test_model_without_replicas_is_a_503(cats: str) -> None:
    with serving(tiny=Model().handle) as client:
        answer = register(client, cats)
        assert answer.status_code == 503
        assert answer.json()["detail"] == "No replica of 'tiny' runs. Try again."
        assert client.get("/adapters").json()["adapters"] == []


def test_replicas_that_are_dead_are_left_out(
    model: Model, client: TestClient, cats: str
) -> None:
    for actor in model.handle.actors.values():
        actor.is_cut_off = True
    model.start()
    assert register(client, cats).status_code == 200
    assert [each.names() for each in model.clients] == [[], [], ["cats"]]


def test_all_replicas_are_dead(model: Model, client: TestClient, cats: str) -> None:
    for actor in model.handle.actors.values():
        actor.is_cut_off = True
    answer = register(client, cats)
    assert answer.status_code == 503
    assert "No replica of 'tiny' runs" in answer.text


def test_all_replicas_die_after_they_were_asked(
    model: Model, client: TestClient, cats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mhcs.ray import model_adapters

    find = model_adapters.ModelAdapters.check_folder

    async def check_folder(*args: Any, **options: Any) -> str:
        path = await find(*args, **options)
        for actor in model.handle.actors.values():
            actor.is_cut_off = True
        return path

    monkeypatch.setattr(model_adapters.ModelAdapters, "check_folder", check_folder)
    assert register(client, cats).status_code == 503
    assert client.get("/adapters").json()["adapters"] == []


def test_registration_is_undone_if_the_first_replica_ends(
    model: Model, client: TestClient, cats: str
) -> None:
    first = model.handle.actors["r0"]
    model.clients[0].before_load = first.process.kill
    answer = register(client, cats)
    assert answer.status_code == 503
    assert "A replica ended while it loaded adapter 'cats'" in answer.text
    assert client.get("/adapters").json()["adapters"] == []
    assert [each.names() for each in model.clients[1:]] == [[]]


def test_replica_that_ends_after_the_first_has_loaded_is_left_out(
    model: Model, client: TestClient, cats: str
) -> None:
    def cut_off() -> None:
        model.handle.actors["r1"].is_cut_off = True

    model.clients[0].before_load = cut_off
    assert register(client, cats).status_code == 200
    assert [each.names() for each in model.clients] == [["cats"], []]


def test_registration_is_undone_if_another_replica_refuses(
    model: Model, client: TestClient, cats: str
) -> None:
    def refuse() -> None:
        raise RuntimeError("Its rank is too high.")

    model.clients[1].before_load = refuse
    answer = register(client, cats)
    assert answer.status_code == 400
    assert "Its rank is too high" in answer.text
    assert client.get("/adapters").json()["adapters"] == []
    assert [each.names() for each in model.clients] == [[], []]


def test_adapter_is_unregistered_while_no_replica_runs(
    model: Model, client: TestClient, cats: str
) -> None:
    register(client, cats, preload=False)
    register(client, cats, "more")
    for name in ("r0", "r1"):
        model.handle.remove(name)
    assert client.delete("/adapters/more").status_code == 200
    assert client.delete("/adapters/cats").status_code == 200


def test_error_of_a_replica_is_not_shown(
    model: Model, client: TestClient, cats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mhcs.vllm.adapters import VLLMAdapters

    async def fail(*_: Any) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(VLLMAdapters, "load", fail)
    answer = register(client, cats)
    assert answer.status_code == 503
    detail = "A replica has failed in load; the server's log says why."
    assert answer.json()["detail"] == detail
    assert client.get("/adapters").json()["adapters"] == []


def test_error_of_the_coordinator_is_not_shown(
    client: TestClient, cats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mhcs.ray.coordinator import RayCoordinator

    async def fail(*_: Any) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(RayCoordinator, "register", fail)
    answer = register(client, cats)
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("The registry of adapters has failed")


def test_adapter_that_cannot_be_loaded_is_an_error_of_the_request(
    model: Model, client: TestClient, cats: str
) -> None:
    register(client, cats, preload=False)
    (Path(cats) / "adapter_model.bin").unlink()
    answer = ask(client, "cats")
    assert answer.status_code == 400
    assert "Traceback" not in answer.text
    assert client.get("/adapters/cats").json()["status"] == "failed"
    assert client.get("/v1/models/cats").status_code == 404


async def test_error_of_an_adapter_in_a_replica_has_its_status(
    model: Model, client: TestClient, cats: str
) -> None:
    from ray.serve.llm.ingress import CompletionRequest

    register(client, cats, preload=False)
    (Path(cats) / "adapter_model.bin").unlink()
    body = CompletionRequest(model="cats", prompt="hello")
    with pytest.raises(HTTPException) as raised:
        await anext(model.handle.completions.remote(body, {}))
    assert raised.value.status_code == 400
    assert "Traceback" not in raised.value.detail


def test_rays_own_adapters_are_left_to_ray(
    model: Model, cats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(_: Any, request: Any, __: Any) -> Any:
        async def outputs() -> Any:
            yield {"asked": request.model}

        return outputs()

    from mhcs.ray import SageMakerLLMServer

    with serving(tiny=model.handle, lora_paths={"tiny": "s3://bucket"}) as client:
        register(client, cats)
        assert ask(client, "cats").json()["text"] == "meow"
        assert client.get("/v1/models/tiny:own").json()["id"] == "tiny:own"
        monkeypatch.setattr(SageMakerLLMServer, "completions", answer)
        own = {"model": "tiny:own", "asked": "tiny:own"}
        assert ask(client, "tiny:own").json() == own


HANDLERS = """
from model_hosting_container_standards import sagemaker

@sagemaker.register_load_adapter_handler(
    request_shape={"name": "body.name"}, response_shape={"loaded": "body.name"}
)
async def load(data, request):
    return {"name": data["name"]}

@sagemaker.register_unload_adapter_handler(
    request_shape={"name": "path_params.adapter_name"},
    response_shape={"unloaded": "body.name"},
)
async def unload(data, request):
    return {"name": data["name"]}
"""


@pytest.mark.parametrize("rooted", [False, True])
def test_adapters_of_handlers_are_those_of_all_ingresses(
    script: Script, cats: str, rooted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(HANDLERS)
    if rooted:
        monkeypatch.setenv("SAGEMAKER_ADAPTERS_ROOT", str(Path(cats).parent))
    model = Model(lora=False)
    model.start()
    with serving(tiny=model.handle) as client, serving(tiny=model.handle) as other:
        assert register(client, cats).json() == {"loaded": "cats"}
        assert other.get("/adapters/cats").json()["status"] == "loaded"
        preload = {"preload": False}
        updated = other.post("/adapters/cats/update", json=preload)
        assert updated.status_code == 200
        # No engine has loaded it: the model's own answer says so.
        assert ask(other, "cats").status_code == 404
        assert "vLLM does not know cats" in ask(other, "cats").text
        answer = other.delete("/adapters/cats")
        assert answer.json() == {"unloaded": "cats"}
        assert client.get("/adapters").json()["adapters"] == []
        missing = other.post("/adapters/cats/update", json=preload)
        assert missing.status_code == 404


def test_adapter_of_a_handler_is_not_loaded_by_a_new_replica(
    script: Script, model: Model, cats: str
) -> None:
    script(HANDLERS)
    with serving(tiny=model.handle) as client:
        register(client, cats, pin=True)
        model.start()
    assert [each.names() for each in model.clients] == [[], [], []]


@pytest.mark.parametrize("refusing", [1, 5])
def test_registrations_survive_the_coordinator(
    model: Model, client: TestClient, cats: str, refusing: int
) -> None:
    register(client, cats)
    coordinator().kill(refusing)
    assert texts(client, "cats") == {"meow"}
    assert register(client, cats, "more").status_code == 200
    assert client.delete("/adapters/cats").status_code == 200
    assert [each.names() for each in model.clients] == [["more"], ["more"]]


@pytest.mark.parametrize("method", ["register", "update", "unregister"])
def test_operation_that_succeeded_before_the_coordinator_died(
    model: Model, client: TestClient, cats: str, method: str
) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "register": lambda: register(client, cats),
        "update": lambda: client.post("/adapters/cats/update", json={"pin": True}),
        "unregister": lambda: client.delete("/adapters/cats"),
    }
    for name, call in calls.items():
        if name == method:
            die_after(method)
        assert call().status_code == 200
    assert [each.names() for each in model.clients] == [[], []]


def test_coordinator_dies_while_it_loads(
    model: Model, client: TestClient, cats: str
) -> None:
    """The next one undoes it, in the replicas too, and the operation is repeated."""
    client_of_first = model.clients[0]

    def kill() -> None:
        client_of_first.before_load = lambda: None
        coordinator().kill()

    client_of_first.before_load = kill
    assert register(client, cats).status_code == 200
    assert [each.names() for each in model.clients] == [["cats"], ["cats"]]
    assert [len(each.loaded) for each in model.clients] == [1, 1]


def test_coordinator_that_stays_away_is_a_503(
    client: TestClient, cats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mhcs.ray.connection._RETRY_FOR_S", 0.05)
    coordinator().kill(1_000_000)
    answer = register(client, cats)
    assert answer.status_code == 503
    detail = "The registry of adapters cannot be reached. Try again."
    assert answer.json()["detail"] == detail


def test_failing_gcs_is_a_503_and_nothing_is_done(
    model: Model, client: TestClient, cats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_gcs(patch, b"adapter/cats")
        answer = register(client, cats)
    assert answer.status_code == 503
    assert answer.json()["detail"] == "Ray's GCS cannot be reached. Try again."
    assert client.get("/adapters").json()["adapters"] == []
    assert register(client, cats).status_code == 200
    with monkeypatch.context() as patch:
        fail_gcs(patch)
        assert client.delete("/adapters/cats").status_code == 503
    assert texts(client, "cats") == {"meow"}


def test_coordinator_that_cannot_read_the_gcs_is_not_lost(
    client: TestClient, cats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._raylet import store
    from ray.exceptions import RpcError

    register(client, cats)
    monkeypatch.setattr("mhcs.ray.connection._RETRY_FOR_S", 0.05)

    def fail(*_: Any) -> None:
        raise RpcError("192.0.2.1 is gone.")

    with monkeypatch.context() as patch:
        patch.setattr(store, "before", fail)
        coordinator().kill()
        answer = register(client, cats, "more")
        assert answer.status_code == 503
        assert "192.0.2.1" not in answer.text
    assert register(client, cats, "more").status_code == 200
    assert texts(client, "cats") == {"meow"}


def test_new_version_of_the_application_has_other_models(
    model: Model, cats: str
) -> None:
    """The journal still has those of the version before."""
    from ray import serve

    with serving(tiny=model.handle) as client:
        register(client, cats)
    serve.deployments.clear()
    coordinator().kill()
    other = Model("other")
    other.start()
    with serving(other=other.handle) as client:
        assert client.get("/v1/models/cats").json()["id"] == "cats"
        assert ask(client, "cats").json()["text"] == "meow"
        assert other.clients[0].names() == ["cats"]
        assert client.delete("/adapters/cats").status_code == 200
        assert other.clients[0].names() == []


def test_another_instance_of_serve_has_other_replicas(model: Model, cats: str) -> None:
    """The handles of the coordinator's process are those of the instance before."""
    import ray
    from ray import serve

    with serving(tiny=model.handle) as client:
        register(client, cats)
    for actor in model.handle.actors.values():
        actor.process.kill()
    serve.deployments.clear()
    ray.controller_id = b"second"
    restarted = Model()
    restarted.start()
    with serving(tiny=restarted.handle) as client:
        assert ask(client, "cats").json()["text"] == "meow"
        assert register(client, cats, "more").status_code == 200
        assert ask(client, "more").json()["text"] == "meow"


def test_new_replica_loads_an_adapter_before_its_engine_uses_it(
    model: Model, client: TestClient, cats: str
) -> None:
    register(client, cats)
    model.start()
    assert model.clients[2].names() == []
    answers = [ask(client, "cats").json()["text"] for _ in range(3)]
    assert answers == ["meow"] * 3
    assert model.clients[2].names() == ["cats"]
    assert client.delete("/adapters/cats").status_code == 200
    assert model.clients[2].names() == []


def test_new_replica_refuses_an_adapter_without_files(
    model: Model, client: TestClient, cats: str
) -> None:
    register(client, cats)
    shutil.rmtree(cats)
    model.start()
    for replica in ("r0", "r1"):
        model.handle.remove(replica)
    answer = ask(client, "cats")
    assert answer.status_code == 404
    assert "Traceback" not in answer.text
    assert model.clients[2].names() == []
    assert ask(client, "tiny").json()["text"] == "base"


def test_new_replica_pins_what_it_has_missed(
    model: Model, client: TestClient, cats: str
) -> None:
    register(client, cats)
    actor = model.start()
    actor.is_cut_off = True
    client.post("/adapters/cats/update", json={"pin": True})
    assert wait_for(lambda: model.clients[2].pinned)
    actor.is_cut_off = False
    for _ in range(3):
        assert ask(client, "cats").json()["text"] == "meow"
    assert [len(each.pinned) for each in model.clients] == [1, 1, 1]


def test_new_replica_unpins_what_it_has_missed(
    model: Model, client: TestClient, cats: str
) -> None:
    register(client, cats, pin=True)
    actor = model.start()
    actor.is_cut_off = True
    assert len(model.clients[2].pinned) == 1
    client.post("/adapters/cats/update", json={"pin": False})
    assert wait_for(lambda: not model.clients[2].pinned)
    actor.is_cut_off = False
    assert model.clients[2].names() == ["cats"]


def test_adapter_that_is_unregistered_while_a_new_replica_pins_it_is_unloaded(
    model: Model, client: TestClient, cats: str
) -> None:
    register(client, cats, pin=True)
    late = Model()
    began, deleted = Event(), Event()

    async def load_slowly(self: Any, request: Any) -> bool:
        began.set()
        await asyncio.to_thread(deleted.wait)
        self.loaded[request.lora_int_id] = request
        return True

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as threads:
        patch.setattr("ray_serving.Client.add_lora", load_slowly)
        starting = threads.submit(late.start)
        assert began.wait(PATIENCE_S)
        answer = threads.submit(client.delete, "/adapters/cats")
        assert wait_for(lambda: client.get("/adapters").json()["adapters"] == [])
        deleted.set()
        starting.result()
        assert answer.result().status_code == 200
    assert wait_for(lambda: not late.clients[0].loaded)
    assert not late.clients[0].pinned


def test_model_without_replicas_does_not_stop_the_adapters_of_another(
    model: Model, cats: str
) -> None:
    with serving(none=Model("none").handle, tiny=model.handle) as client:
        assert register(client, cats, preload=False).status_code == 200
        assert ask(client, "cats").json()["text"] == "meow"
        assert client.delete("/adapters/cats").status_code == 200


def test_no_model_with_replicas_is_a_503(cats: str) -> None:
    with serving(none=Model("none").handle, no=Model("no").handle) as client:
        answer = register(client, cats)
    assert answer.status_code == 503
    assert "No replica of 'none' runs" in answer.text


def test_coordinator_that_died_for_good_is_started_again(
    client: TestClient, cats: str
) -> None:
    register(client, cats)
    coordinator().end()
    assert register(client, cats, "more").status_code == 200
    assert texts(client, "cats") == {"meow"}
    assert texts(client, "more") == {"meow"}


def test_calls_of_the_coordinator_need_no_thread(
    client: TestClient, cats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handlers of customers may use all of them."""

    async def run_in_threadpool(*_: Any) -> None:
        raise TimeoutError("No thread is free.")

    monkeypatch.setattr("mhcs.ray.coordinator.run_in_threadpool", run_in_threadpool)
    assert register(client, cats).status_code == 200
    assert texts(client, "cats") == {"meow"}
    assert "coordinator" in scrape(client).labels(
        "sagemaker_adapter_loads_total", "deployment"
    )


def test_loads_are_on_the_metrics_page(client: TestClient, cats: str) -> None:
    register(client, cats)
    loads = "sagemaker_adapter_loads_total"
    page = scrape(client)
    assert page.value(loads, deployment="coordinator", result="loaded") >= 1
    coordinator().kill(1_000_000)
    assert "coordinator" not in scrape(client).labels(loads, "deployment")


def test_coordinator_loads_what_an_ingress_does_not() -> None:
    from mhcs.ray.ingress_adapters import IngressAdapters
    from mhcs.ray.models import IngressModels

    backend = IngressAdapters(IngressModels("app", {}, {}))
    adapter: Any = None
    with pytest.raises(NotImplementedError):
        backend.load(adapter).send(None)
