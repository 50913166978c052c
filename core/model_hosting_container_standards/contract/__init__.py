"""The routes, headers and limits of SageMaker's hosting contract."""
