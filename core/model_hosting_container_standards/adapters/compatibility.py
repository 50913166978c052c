"""Checks that an adapter's tensors match its configuration and the base model."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from ..exceptions import AdapterError
from .base_model import BaseModel, Widths
from .tensors import Tensor, printable

#: PEFT's prefix of the model's module names.
_PREFIX: Final = "base_model.model."
_MATRIX_NAME: Final = re.compile(
    r"(?s)(.+)\.lora_(embedding_)?([AB])(?:(?:\.\w+)?\.weight)?"
)
#: How many tensors an error names.
_MAX_NAMED: Final = 3


class LoRAMatrix(NamedTuple):
    """The A or B matrix of a module."""

    name: str
    tensor: Tensor
    of_embedding: bool


#: The matrices of a module by PEFT's letter, ``A`` or ``B``.
Pair = Mapping[str, LoRAMatrix]


class Mismatch(NamedTuple):
    """Why a tensor does not match; ``tensors`` counts those with the same fault."""

    name: str
    reason: str
    tensors: int = 1


def check_fit(
    path: str,
    tensors: Mapping[str, Tensor],
    ranks: Collection[int],
    model: BaseModel | None,
) -> None:
    """Check that an adapter can be applied completely.

    Args:
        path: the adapter's path, for errors.
        tensors: the adapter's tensors by name.
        ranks: the ranks in its configuration.
        model: the base model; None: unknown.

    Raises:
        AdapterError: some tensors do not match; the text names the first ones.
    """
    pairs = _group_pairs(tensors)
    if not pairs:
        raise AdapterError(
            f"{path!r} is not a LoRA adapter: none of its {len(tensors)} tensors is a "
            "lora_A or a lora_B."
        )
    inconsistent = itertools.chain.from_iterable(
        _internal_mismatches(name, pair, ranks) for name, pair in pairs.items()
    )
    raise_mismatches(path, "is damaged", len(tensors), inconsistent, "Export it again.")
    if model is not None:
        unfit = itertools.chain.from_iterable(
            _model_mismatches(name, pair, model) for name, pair in pairs.items()
        )
        advice = "Use it with the model that it was trained on."
        raise_mismatches(path, "does not fit the model", len(tensors), unfit, advice)


def raise_mismatches(
    path: str, verdict: str, total: int, faults: Iterable[Mismatch], advice: str
) -> None:
    """Raise an error that names the first mismatches, if there are any.

    ``total`` is the number of the adapter's tensors.

    Raises:
        AdapterError: there is a mismatch.
    """
    mismatches = [*faults]
    if not mismatches:
        return
    named = "; ".join(
        f"{printable(mismatch.name)}: {printable(mismatch.reason)}"
        for mismatch in mismatches[:_MAX_NAMED]
    )
    count = sum(mismatch.tensors for mismatch in mismatches)
    unnamed = count - min(len(mismatches), _MAX_NAMED)
    more = f"; and {unnamed} more" if unnamed else ""
    where = f"in {count} of {total} tensors"
    raise AdapterError(f"{path!r} {verdict} {where}: {named}{more}. {advice}")


def _group_pairs(tensors: Mapping[str, Tensor]) -> Mapping[str, Pair]:
    pairs: dict[str, dict[str, LoRAMatrix]] = {}
    for name, tensor in tensors.items():
        if match := _MATRIX_NAME.fullmatch(name):
            module, embedding, letter = match.groups()
            pair = pairs.setdefault(module.replace(_PREFIX, ""), {})
            pair[letter] = LoRAMatrix(name, tensor, embedding is not None)
    return pairs


def _internal_mismatches(
    module: str, pair: Pair, ranks: Collection[int]
) -> Iterator[Mismatch]:
    """Yield contradictions between an adapter's tensors and its configuration."""
    if len(pair) < 2:
        (matrix,) = pair.values()
        other = "lora_A" if "B" in pair else "lora_B"
        yield Mismatch(matrix.name, f"its {other} is missing")
        return
    (a_name, a, _), (b_name, b, _) = pair["A"], pair["B"]
    if len(a.shape) != 2 or len(b.shape) != 2:
        return  # Convolutions, or all experts in one tensor.
    rank = a.shape[0]
    if b.shape[1] != rank:
        reason = f"its rank is {b.shape[1]}, but that of lora_A is {rank}"
        yield Mismatch(b_name, reason)
    # One tensor may hold several experts side by side.
    elif rank not in ranks and ".experts" not in module:
        configured = " or ".join(map(str, sorted(ranks)))
        reason = f"its rank is {rank}, but adapter_config.json says {configured}"
        yield Mismatch(a_name, reason)


def _model_mismatches(module: str, pair: Pair, model: BaseModel) -> Iterator[Mismatch]:
    """Yield the tensors that the model has no module for, or one of another width."""
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
        for matrix, width, of_model in zip((a, b), own, widths, strict=True):
            if of_model not in (None, width):
                reason = f"its width is {width}, but the model's is {of_model}"
                yield Mismatch(matrix.name, reason)


def _differ(own: Widths, widths: Widths) -> bool:
    """Return whether widths may differ; some models store weights transposed."""
    # Sets compare the two widths regardless of their order.
    return None in widths or {*own} != {*widths}
