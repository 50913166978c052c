"""Amazon SageMaker's hosting contract for any FastAPI inference server.

Importing this package, or any module of it, reads no environment variable, sets up no
logging and imports no engine: everything happens in
:func:`model_hosting_container_standards.app.bootstrap`.
"""
