"""The commands behind `cli.py`, a module each concern. They print."""
