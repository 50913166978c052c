"""Finds names that moved between releases of vLLM, and writes their table.

    PYTHONPATH=tools python -m moved_names --download WHEELS

Reads the wheels of the releases in a folder: nothing of them is imported or executed.
With ``--download`` it fetches them first. What the sources leave open is printed, and
decided in ``judgements.py``.
"""
