"""Creates environments in which a release of Ray Serve LLM serves on a CPU.

    PYTHONPATH=tools python -m ray_cpu 2.60.0 build/ray-2.60.0

An environment takes 400 MB and less than a minute, because it is layered on that of
the Python that runs this, which has vLLM's CPU build and most of Ray's requirements.
Neither is changed. A release of Ray pins a release of vLLM; here it is used with the
installed one.
"""
