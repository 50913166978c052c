"""SageMaker's hosting contract for unmodified inference engines.

``import mhcs.auto`` before the engine is imported, or set ``MHCS_AUTO=1``.
"""
