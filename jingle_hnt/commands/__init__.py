"""The commands behind `cli.py`, a module each concern. They print."""

import argparse
from collections.abc import Callable
from typing import TypeAlias

AddConfig: TypeAlias = Callable[[argparse.ArgumentParser], None]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
