"""Write a tiny Llama that every release of vLLM can serve, for tests and tutorials.

    python tools/tiny_model.py build/tiny-llama --lora french --lora poet

writes the model to build/tiny-llama (1 MB, random but reproducible weights) and LoRA
adapters to build/french and build/poet. Existing folders are not changed, so adapters
can be written for any model with the Llama architecture.

The generated text is meaningless but legible, and differs between adapters.
"""

import argparse
import functools
import json
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# torch and transformers take seconds to import, and are only needed to write files.
if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 512
HIDDEN = 128
LAYERS = 2
HEADS = 2  # of size 64, which every attention back end supports
LORA_RANK = 8
LORA_TARGETS = ["q_proj", "v_proj"]

BEGIN, END = "<|begin|>", "<|end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'] }}: {{ message['content'] }}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
TOKENIZER_TEXT = """\
The quick brown fox jumps over the lazy dog while seventeen ships carry wood, salt and
paper along a narrow coast. Every morning the people of the village open their windows,
light small fires, and talk about weather, music, bread and the price of good shoes.
Nobody remembers who built the old stone bridge, but children still count its arches:
one, two, three, four, five, six. When evening comes, somebody plays a violin, and the
river answers slowly, as rivers do, with a sound like distant applause. A user asks, an
assistant answers, and the system listens. What is the capital of France? Hello, world!
"""


def main() -> None:
    arguments = parse_arguments()
    destination: Path = arguments.destination
    make_once(destination, write_model)
    for name in arguments.lora:
        write = functools.partial(write_adapter, destination)
        make_once(destination.parent / name, write)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("destination", type=Path, help="the model's folder")
    parser.add_argument(
        "--lora", metavar="NAME", action="append", default=[], help="may be repeated"
    )
    return parser.parse_args()


def make_once(destination: Path, write: Callable[[Path], None]) -> None:
    """Create a folder atomically, unless another process has created it first."""
    if is_there(destination):
        print(f"{destination} exists")
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent) as unfinished:
        folder = Path(unfinished, destination.name)
        folder.mkdir()
        write(folder)
        try:
            folder.rename(destination)
        except OSError:
            if not is_there(destination):
                raise
    print(f"{destination} is written")


def is_there(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def write_model(folder: Path) -> None:
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokenizer = train_tokenizer()
    # The chat template is in tokenizer_config.json, which all transformers read.
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    change(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    random_llama(tokenizer).save_pretrained(folder)
    change(folder / "config.json", torch_dtype="bfloat16")


def train_tokenizer() -> "PreTrainedTokenizerFast":
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TOKENIZER_TEXT], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        chat_template=CHAT_TEMPLATE,
    )


def change(config: Path, **settings: str) -> None:
    """Add settings that older releases of transformers require.

    Up to 4.55 they read torch_dtype; up to 4.57 they do not know the tokenizer class
    that newer releases write.
    """
    settings = {**json.loads(config.read_text()), **settings}
    config.write_text(json.dumps(settings, indent=2))


def random_llama(tokenizer: "PreTrainedTokenizerFast") -> "LlamaForCausalLM":
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        # Large weights separate the logits: the same greedy text on every machine.
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    with torch.no_grad():
        model.lm_head.weight[illegible_tokens(tokenizer)] = 0
    return model


def illegible_tokens(tokenizer: "PreTrainedTokenizerFast") -> list[int]:
    """Return the tokens that are not letters, including the end-of-text token.

    Their logits are set to 0, so that greedy text is legible and has the full length.
    """
    words = (tokenizer.decode([token]).strip() for token in range(VOCABULARY))
    return [token for token, word in enumerate(words) if not is_word(word)]


def is_word(text: str) -> bool:
    return text.isascii() and text.isalpha()


def write_adapter(model: Path, folder: Path) -> None:
    """Write a LoRA adapter in PEFT's format, with weights seeded by its name."""
    from safetensors.torch import save_file

    seed = zlib.crc32(folder.name.encode())
    config = json.loads((model / "config.json").read_text())
    save_file(adapter_weights(config, seed), folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model.name,
        "bias": "none",
        "r": LORA_RANK,
        "lora_alpha": 2 * LORA_RANK,
        "lora_dropout": 0.0,
        "target_modules": LORA_TARGETS,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2))


def adapter_weights(config: dict[str, Any], seed: int) -> "dict[str, Tensor]":
    import torch

    generator = torch.Generator().manual_seed(seed)
    return {
        f"base_model.model.model.layers.{layer}.self_attn.{target}.{half}.weight": (
            torch.randn(shape, generator=generator) * 0.3
        )
        for layer in range(config["num_hidden_layers"])
        for target in LORA_TARGETS
        for half, shape in adapter_shapes(config, target).items()
    }


def adapter_shapes(config: dict[str, Any], target: str) -> dict[str, tuple[int, int]]:
    """Return the shapes of the two matrices, as (rows, columns)."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    size = config.get("head_dim") or hidden // heads
    if target == "v_proj":
        heads = config.get("num_key_value_heads") or heads
    return {"lora_A": (LORA_RANK, hidden), "lora_B": (heads * size, LORA_RANK)}


if __name__ == "__main__":
    main()
