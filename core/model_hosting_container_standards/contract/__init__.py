"""The routes and headers of SageMaker's hosting contract."""
