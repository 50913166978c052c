"""Tests of the contract that every engine must pass, over HTTP alone.

``make test`` runs them on the stand-ins for TensorRT-LLM, ``make gpu-test`` on real
engines: see ``gpu_tests/conftest.py``.
"""
