"""SageMaker's hosting contract for engines that nobody wants to fork.

``import mhcs.auto`` before the engine is imported, or set ``MHCS_AUTO=1``.
"""
