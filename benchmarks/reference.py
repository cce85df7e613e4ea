"""The native engine against the pure Python reference, measured as `relay` does."""

from benchmarks.relay import against
from benchmarks.rig import Figures

CALLS = (100, 300)


def main(arguments: list[str]) -> Figures:
    """The native engine against the reference."""
    return against(("reference",), CALLS, arguments)
