"""Creates environments in which a release of vLLM serves on a CPU, from wheels.

    PYTHONPATH=tools python -m old_vllm 0.10.2 build/vllm-0.10.2

`make test-vllm VERSION=0.10.2` creates one, runs the tests of a real vLLM in it, and
removes it. `make test` tests the release that `make vllm` installs.
"""
