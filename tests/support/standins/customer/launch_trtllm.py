"""A launch script that patches TensorRT-LLM."""

import mhcs.auto  # noqa: F401 - patches engines

# isort: split
from tensorrt_llm.commands.serve import main

if __name__ == "__main__":
    main()
