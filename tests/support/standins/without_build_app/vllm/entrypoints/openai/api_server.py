import asyncio
from argparse import Namespace

from fastapi import FastAPI
from fastapi.responses import Response

from standins.common.server import (
    import_plugin,
    make_app,
    note_routes,
    parse_arguments,
    run_uvicorn,
)


def health() -> Response:
    return Response(status_code=200)


def create_application() -> FastAPI:
    app = make_app()
    app.add_api_route("/health", health)
    return app


async def run_server(args: Namespace) -> None:
    import_plugin(args)
    app = create_application()
    note_routes(app)
    await run_uvicorn(app, host=args.host, port=args.port)


if __name__ == "__main__":
    asyncio.run(run_server(parse_arguments()))
