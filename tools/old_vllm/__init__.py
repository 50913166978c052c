"""Environments in which a release of vLLM serves on a CPU, made from published wheels.

    PYTHONPATH=tools python -m old_vllm 0.10.2 build/vllm-0.10.2

`make test-vllm VERSION=0.10.2` makes one, runs the tests of a real vLLM in it, and
removes it. For the release that `make vllm` installs there is `make test`.
"""
