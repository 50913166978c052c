from standins.common.serving import OpenAIServingChat

__all__ = ["OpenAIServingChat"]
