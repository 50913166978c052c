"""Read PromQL expressions: the metrics and labels that they name."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import promql_parser


class Selector(NamedTuple):
    """A metric of an expression, with the values or patterns of its labels."""

    metric: str
    matchers: tuple[tuple[str, str], ...]


def parse(text: str) -> tuple[list[Selector], set[str]]:
    """Return the selectors of an expression, and the labels that it groups by.

    Grafana's intervals are replaced by a duration, as Grafana does.

    Raises:
        ValueError: it is not PromQL.
    """
    selectors: list[Selector] = []
    labels: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            selectors.append(_selector(node))
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            labels.update(node.modifier.labels)

    expression = promql_parser.parse(re.sub(r"\$__\w*interval", "5m", text))
    promql_parser.walk(expression, visit)
    return selectors, labels


def _selector(node: Any) -> Selector:
    matchers = ((each.name, each.value) for each in node.matchers.matchers)
    return Selector(node.name or "", tuple(matchers))
