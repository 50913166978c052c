"""The promises of the contract that hold on every engine, over HTTP alone.

``make test`` runs them on the stand-ins for TensorRT-LLM, ``make gpu-test`` on real
engines: see ``gpu_tests/conftest.py``. A module here is a set of tests that both run.
"""
