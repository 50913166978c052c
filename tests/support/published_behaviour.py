"""Write what the installed package does, by the page's claims, as JSON.

It is run by the Python of an environment with the published package, and by our own.
"""

import json
import sys
from typing import Any

from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from model_hosting_container_standards import sagemaker

NEW = {"requestType": "NEW_SESSION"}
app = FastAPI()


@app.get("/ping")
async def ping() -> str:
    return "up"


@app.post("/invocations")
async def invocations(request: Request) -> Any:
    return (await request.body()).decode()


@app.post("/adapter")
@sagemaker.inject_adapter_id("model")
async def adapter(request: Request) -> Any:
    return (await request.json())["model"]


@app.post("/session")
@sagemaker.stateful_session_manager()
async def session(request: Request) -> Any:
    return (await request.body()).decode()


client = TestClient(sagemaker.bootstrap(app), raise_server_exceptions=False)
header = {"X-Amzn-SageMaker-Adapter-Identifier": "fr"}
body = {"model": "base"}
new = client.post("/session", json=NEW)
claims = {
    "GET /ping": client.get("/ping").status_code,
    "HEAD /ping": client.head("/ping").status_code,
    "POST /ping": client.post("/ping").status_code,
    "GET /execution-parameters": client.get("/execution-parameters").status_code,
    "model, no header": client.post("/adapter", json=body).json(),
    "model, header": client.post("/adapter", json=body, headers=header).json(),
    "list, header": client.post("/adapter", json=[1], headers=header).status_code,
    "session": new.text.split()[0::2],
    "session's headers": sorted(
        name for name in new.headers if name.startswith("x-amzn-sagemaker")
    ),
    "session of any handler": client.post("/invocations", json=NEW).text[:7],
    "session's route, no JSON": client.post("/session", content=b"-").status_code,
    "CLOSE, no header": client.post(
        "/session", json={"requestType": "CLOSE"}
    ).status_code,
}
sys.stdout.write(f"\n{json.dumps(claims)}")
