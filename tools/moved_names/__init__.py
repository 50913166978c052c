"""Finds names that moved between releases of vLLM, and writes their table.

    PYTHONPATH=tools python -m moved_names --download WHEELS

Reads the wheels of the releases in a folder, without importing or executing them.
With ``--download`` it fetches them first. What the sources leave open is printed, and
decided in ``judgements.py``.
"""
