"""What all tests share: where several run at once, each process has an internet of its own.

Tests bind ports that were free a moment before, so two of them must not look for ports in the same
network namespace.
"""

import ctypes
import gc
import os
import subprocess
from collections.abc import Generator

import pytest
from hypothesis import settings

from tests.lab import outside

CLONE_NEWNET = 0x40000000

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker of pytest-xdist a network namespace of its own, where root can."""
    assert outside.NAMESPACE  # opened while we are still there
    if "PYTEST_XDIST_WORKER" not in os.environ or os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot make a network namespace for this worker")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Collect no garbage while the source of a traceback is parsed: what a finalizer has to say is
    formatted by parsing too, which Python 3.11 does not allow inside (SystemError), and a worker
    that cannot report a failure takes all results with it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
