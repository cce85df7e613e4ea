"""Hosted NAT traversal for XMPP Jingle: see docs/architecture.md for the plan of the house."""

__version__ = "0.1.0"
