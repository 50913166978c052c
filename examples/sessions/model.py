"""Keep a conversation: clients send new messages, the session has the earlier ones."""

from fastapi import Request
from fastapi.responses import JSONResponse
from vllm.entrypoints.openai.protocol import ChatCompletionRequest, ErrorResponse

from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.sagemaker.sessions.manager import (
    get_session_manager,
)


@sagemaker.invoke
async def converse(request: ChatCompletionRequest, raw_request: Request):
    new = (await raw_request.json())["messages"]
    session_id = raw_request.headers.get("X-Amzn-SageMaker-Session-Id")
    session = get_session_manager().get_session(session_id) if session_id else None
    before = session.get("messages", []) if session else []
    request.messages = [*before, *request.messages]
    request.stream = False
    chat = raw_request.app.state.openai_serving_chat
    answer = await chat.create_chat_completion(request, raw_request)
    if isinstance(answer, ErrorResponse):
        # Its code moved into `error` with vLLM 0.10.1.
        error = getattr(answer, "error", answer)
        return JSONResponse(answer.model_dump(), status_code=error.code)
    if session:
        reply = {"role": "assistant", "content": answer.choices[0].message.content}
        session.put("messages", [*before, *new, reply])
    return JSONResponse(answer.model_dump())
