from fastapi import APIRouter, Request
from fastapi.responses import Response

router = APIRouter()


@router.get("/health")
async def health(raw_request: Request) -> Response:
    return Response(status_code=200)
