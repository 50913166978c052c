"""Whether an adapter's tensors fit each other, its configuration and the model."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from ..exceptions import AdapterError
from .base_model import BaseModel, Widths
from .tensors import Tensor, printable

#: PEFT has it before the names of the model's modules.
_PREFIX: Final = "base_model.model."
_HALF: Final = re.compile(r"(?s)(.+)\.lora_(embedding_)?([AB])(?:(?:\.\w+)?\.weight)?")
#: How many tensors an error names.
_NAMED: Final = 3


class LoRAMatrix(NamedTuple):
    """One of the two matrices by which an adapter changes a module."""

    name: str
    tensor: Tensor
    of_embedding: bool


#: By the letters that PEFT gives them: ``A`` comes before ``B``.
Pair = Mapping[str, LoRAMatrix]


class Mismatch(NamedTuple):
    """Why a tensor does not fit; ``tensors`` is how many have the same fault."""

    name: str
    reason: str
    tensors: int = 1


def check_fit(
    path: str,
    tensors: Mapping[str, Tensor],
    ranks: Collection[int],
    model: BaseModel | None,
) -> None:
    """Check that an adapter can be applied as a whole.

    Args:
        path: what an error calls the adapter.
        ranks: those that its configuration names.
        model: None where nothing is known of it.

    Raises:
        AdapterError: some of its tensors do not fit; it names the first ones.
    """
    pairs = _pairs(tensors)
    if not pairs:
        raise AdapterError(
            f"{path!r} is not a LoRA adapter: none of its {len(tensors)} tensors is a "
            "lora_A or a lora_B."
        )
    inner = itertools.chain.from_iterable(
        _misfits(name, pair, ranks) for name, pair in pairs.items()
    )
    raise_mismatches(path, "is damaged", len(tensors), inner, "Export it anew.")
    if model is not None:
        outer = itertools.chain.from_iterable(
            _strangers(name, pair, model) for name, pair in pairs.items()
        )
        advice = "An adapter fits the model that it was trained on."
        raise_mismatches(path, "does not fit the model", len(tensors), outer, advice)


def raise_mismatches(
    path: str, verdict: str, total: int, faults: Iterable[Mismatch], advice: str
) -> None:
    """Raise an error that names the first faults, if there are any."""
    found = [*faults]
    if not found:
        return
    named = "; ".join(
        f"{printable(fault.name)}: {printable(fault.reason)}"
        for fault in found[:_NAMED]
    )
    count = sum(fault.tensors for fault in found)
    unnamed = count - min(len(found), _NAMED)
    more = f"; and {unnamed} more" if unnamed else ""
    where = f"in {count} of {total} tensors"
    raise AdapterError(f"{path!r} {verdict} {where}: {named}{more}. {advice}")


def _pairs(tensors: Mapping[str, Tensor]) -> Mapping[str, Pair]:
    pairs: dict[str, dict[str, LoRAMatrix]] = {}
    for name, tensor in tensors.items():
        if found := _HALF.fullmatch(name):
            module, embedding, half = found.groups()
            pair = pairs.setdefault(module.replace(_PREFIX, ""), {})
            pair[half] = LoRAMatrix(name, tensor, embedding is not None)
    return pairs


def _misfits(module: str, pair: Pair, ranks: Collection[int]) -> Iterator[Mismatch]:
    """Yield what does not fit inside an adapter."""
    if len(pair) < 2:
        (half,) = pair.values()
        other = "lora_A" if "B" in pair else "lora_B"
        yield Mismatch(half.name, f"there is no {other} to it")
        return
    (a_name, a, _), (b_name, b, _) = pair["A"], pair["B"]
    if len(a.shape) != 2 or len(b.shape) != 2:
        return  # Of convolutions, or of all experts at once.
    rank = a.shape[0]
    if b.shape[1] != rank:
        reason = f"its rank is {b.shape[1]}, and that of lora_A {rank}"
        yield Mismatch(b_name, reason)
    # Experts may be next to each other in one tensor.
    elif rank not in ranks and ".experts" not in module:
        known = " or ".join(map(str, sorted(ranks)))
        reason = f"its rank is {rank}, and in adapter_config.json {known}"
        yield Mismatch(a_name, reason)


def _strangers(module: str, pair: Pair, model: BaseModel) -> Iterator[Mismatch]:
    """Yield what the model has no place for."""
    widths = model.find(module)
    if widths is None:
        first, *_ = pair.values()
        yield Mismatch(first.name, model.missing(module), len(pair))
        return
    a, b = pair["A"], pair["B"]
    if a.of_embedding or len(a.tensor.shape) != 2 or len(b.tensor.shape) != 2:
        return
    own = Widths(a.tensor.shape[1], b.tensor.shape[0])
    if _differ(own, widths):
        for half, width, of_model in zip((a, b), own, widths, strict=True):
            if of_model not in (None, width):
                reason = f"its width is {width}, and that of the model {of_model}"
                yield Mismatch(half.name, reason)


def _differ(own: Widths, widths: Widths) -> bool:
    """Whether widths that are known differ; some models keep weights transposed."""
    # A set is all that a pair is here: {n} is n and n.
    return None in widths or {*own} != {*widths}
