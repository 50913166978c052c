"""Reports of ``mhcs check`` without a container."""

from __future__ import annotations

from mhcs.check.check import Check
from mhcs.check.exchange import Exchange, excerpt
from mhcs.check.report import Report, Result
from mhcs.check.verdict import Status

#: What a container may send to whoever looks at its report.
ATTACK = '</pre><script>document.title = "run"</script>&\x1b[2J"\''


def result_of(status: Status, finding: str = "found") -> Result:
    name = f"area-{status.value.replace(' ', '-')}"
    check = Check(name, f"It is {status.value}", "reference/http.md#routes", len)  # type: ignore[arg-type]
    exchange = Exchange("POST", "/invocations", {"A": "1"}, b"sent", 200)
    exchange.answer.extend(ATTACK.encode())
    return Result(check, status, finding, 0.5, [excerpt(exchange, None)], omitted=3)


def report_of(*results: Result, docs: str | None = None) -> Report:
    return Report(
        "http://host:8080",
        "2026-01-01T00:00:00Z",
        docs,
        seconds=2.0,
        results=[*(results or map(result_of, Status))],
        latencies={"GET /ping": [0.001, 0.002, 0.004], "same <b>": [0.0]},
        left=["left<b>"],
    )
