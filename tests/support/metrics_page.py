"""A server's ``/metrics``, parsed as Prometheus parses it."""

from __future__ import annotations

from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families


class Page:
    """The samples of one page; the page must be valid."""

    def __init__(self, response: httpx.Response) -> None:
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/plain"), response.text
        self.families = [*text_string_to_metric_families(response.text)]
        names = [family.name for family in self.families]
        assert len({*names}) == len(names)
        self._samples = [
            sample for family in self.families for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have at least these labels."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def names(self) -> set[str]:
        """Return the names of the samples: several for a histogram."""
        return {sample.name for sample in self._samples}

    def label_names(self, name: str) -> set[str]:
        return {label for s in self._samples if s.name == name for label in s.labels}

    def labels(self, name: str, label: str) -> set[str]:
        return {s.labels[label] for s in self._samples if s.name == name}


def scrape(client: Any) -> Page:
    """Fetch and parse ``/metrics``."""
    return Page(client.get("/metrics"))
