from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

router = APIRouter()


@router.get("/v1/models")
async def show_available_models(raw_request: Request) -> JSONResponse:
    served = raw_request.app.state.openai_serving_models.model
    return JSONResponse({"data": [{"id": served}]})
