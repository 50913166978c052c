from standins.common.protocol import LoadLoRAAdapterRequest

__all__ = [
    "LoadLoRAAdapterRequest",
]
