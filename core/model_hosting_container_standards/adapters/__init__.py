"""LoRA adapters: the registry, loading, leases and routes.

``routes`` and ``adapter_middleware`` receive requests, ``registry`` answers what is
registered, ``service`` changes it, ``loader`` loads into the engine through its
``backend``, ``table`` is where it is stored (``store``: in SQLite), and ``runtime``
opens and closes all of these with the app.
"""
