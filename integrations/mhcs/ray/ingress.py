"""Ray Serve LLM's ingress with the routes of SageMaker's contract."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, HTTPException
from prometheus_client import Metric
from ray import serve
from ray.serve.handle import DeploymentHandle
from ray.serve.llm.ingress import OpenAiIngress
from starlette.requests import Request

from model_hosting_container_standards.engines import Adapter
from model_hosting_container_standards.request_id import X_REQUEST_ID
from model_hosting_container_standards.sagemaker import bootstrap

from .coordinator import CoordinatorHandle
from .errors import with_public_errors
from .health import ModelHealth, add_health_route
from .metrics import add_metrics_route
from .models import IngressModels, set_models
from .process import read_own_metrics
from .request_ids import leave_id_to_proxy

INFERENCE_COMPONENT: Final = "x-amzn-sagemaker-inference-component"


class SageMakerIngress(OpenAiIngress):  # type: ignore[misc] # no types of Ray
    """The ingress, with ``/ping``, ``/invocations`` and customers' code.

    Name it in the Serve configuration::

        ingress_cls_config:
          ingress_cls: mhcs.ray:SageMakerIngress

    Args:
        inference_components: the model of each inference component, by the component's
            name; a component that is not in it has the model of its own name. It is
            used by requests that name no model. Set it in ``ingress_extra_kwargs``.
        options: those of Ray's ingress.
    """

    def __init__(
        self,
        *args: Any,
        inference_components: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._inference_components = dict(inference_components or {})

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the app of this replica; Ray calls it after the constructor."""
        app: FastAPI = self.app
        application = serve.get_replica_context().app_name
        handles = self._default_serve_handles
        self._models = IngressModels(application, handles, self._lora_paths)
        set_models(app, self._models)
        # For customers' handlers, which may call its methods.
        app.state.ingress = self
        add_health_route(app, ModelHealth(handles))
        coordinator = CoordinatorHandle(application)
        add_metrics_route(app, [_own_handle(), *handles.values()], coordinator)
        bootstrap(app)
        leave_id_to_proxy(app)
        return app

    async def read_metrics(self) -> Sequence[Metric]:
        """Return the metrics of this replica; the page of each replica has them."""
        return read_own_metrics()

    async def _get_model_id(self, model: str | None) -> str:
        """Return the model to call: that of the selected adapter, if there is one.

        Raises:
            HTTPException: 404, there is no such model; 400, it has to be named.
        """
        if (adapter := self._models.selected_adapter()) is not None:
            # None is the only model: a registered handler has loaded the adapter.
            model = adapter.engine_id
        try:
            name: str = await super()._get_model_id(model)
        except HTTPException as error:
            if error.status_code == HTTPStatus.NOT_FOUND:
                known = ", ".join(self._model_cards)
                error.detail = (
                    f"The model {model!r} does not exist. Available: {known}."
                )
            raise
        return name

    def _get_response(
        self, *, body: Any, call_method: str, raw_request: Request | None = None
    ) -> AsyncGenerator[Any, None]:
        """Call the model; all endpoints do so by this method."""
        if raw_request is not None:
            self._complete(body, raw_request)
        if (adapter := self._models.selected_adapter()) is not None:
            # The replica knows it by this name.
            body.model = adapter.name
        response: AsyncGenerator[Any, None] = super()._get_response(
            body=body, call_method=call_method, raw_request=raw_request
        )
        return with_public_errors(response)

    async def model(self, model_id: str) -> Any:
        """Return the card of a model or of a registered adapter, or None."""
        adapter = self._models.find_adapter(model_id)
        if adapter is None:
            return await super().model(model_id)
        return self._card_of(adapter)

    async def models(self) -> Any:
        """Return the cards of all models and registered adapters."""
        listed = await super().models()
        listed.data += [self._card_of(each) for each in self._models.registered()]
        return listed

    def _card_of(self, adapter: Adapter) -> Any:
        # Its model is not known before it is loaded, and may not be served any more.
        first = next(iter(self._model_cards.values()))
        card = self._model_cards.get(adapter.engine_id or "", first)
        return card.model_copy(update={"id": adapter.name})

    def _complete(self, body: Any, request: Request) -> None:
        """Set the model that the headers name, and the request's id for the engine."""
        if not getattr(body, "model", None):
            body.model = self._model_of_component(request)
        if "request_id" in type(body).model_fields:
            body.request_id = request.headers[X_REQUEST_ID.decode()]

    def _model_of_component(self, request: Request) -> str | None:
        """Return the model of the inference component; None is the only model."""
        component = request.headers.get(INFERENCE_COMPONENT, "")
        name = self._inference_components.get(component, component)
        return name if name in self._model_cards else None


def _own_handle() -> DeploymentHandle:
    """Return a handle to the deployment of this replica."""
    context = serve.get_replica_context()
    return serve.get_deployment_handle(
        context.deployment, context.app_name, _check_exists=False
    )
