from standins.common.serving import OpenAIServingCompletion

__all__ = ["OpenAIServingCompletion"]
