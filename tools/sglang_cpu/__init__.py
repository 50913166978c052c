"""Creates environments in which a release of SGLang serves on a CPU, with LoRA.

    PYTHONPATH=tools python -m sglang_cpu 0.5.23 build/sglang-0.5.23

An environment is layered on the one of the Python that runs this, which has vLLM's CPU
build: SGLang uses the same torch, transformers and xgrammar. Added are SGLang's wheel,
small requirements that vLLM does not have, and stand-ins for packages that only a GPU
or pictures need (see `stand_ins`). SGLang itself is not changed.
"""
