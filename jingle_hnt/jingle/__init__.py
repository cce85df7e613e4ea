"""Jingle sessions as pure state machines: inputs go in, effects come out."""
