from fastapi import Request, Response

from model_hosting_container_standards import sagemaker


@sagemaker.ping
async def ping():
    return Response(status_code=200)


@sagemaker.invoke
async def invoke(request: Request):
    body = await request.json()
    return {"you_sent": body}
