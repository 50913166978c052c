from standins.common.serving import OpenAIServingModels

__all__ = [
    "OpenAIServingModels",
]
