"""Creates environments in which a release of SGLang serves on a CPU, with adapters.

    PYTHONPATH=tools python -m sglang_cpu 0.5.23 build/sglang-0.5.23

An environment takes 150 MB and less than a minute, because it is layered on that of the
Python that runs this: SGLang uses the torch that vLLM's CPU build requires, and most of
its other requirements. Added are SGLang's wheel, small requirements that vLLM does not
have, and stand-ins for packages that only a GPU or pictures need (see `stand_ins`).
SGLang itself is not changed. A server needs these options:

    SGLANG_USE_CPU_ENGINE=1 build/sglang-0.5.23/bin/python -m sglang.launch_server \\
        --model-path build/tiny-llama --device cpu --attention-backend torch_native \\
        --sampling-backend pytorch --disable-overlap-schedule \\
        --mem-fraction-static 0.1 --max-total-tokens 4096 \\
        --enable-lora --lora-backend torch_native --max-loras-per-batch 2 \\
        --max-lora-rank 8 --lora-target-modules q_proj v_proj
"""
