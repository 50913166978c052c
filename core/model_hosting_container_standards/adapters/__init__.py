"""LoRA adapters: the registry, loading, leases and routes."""
