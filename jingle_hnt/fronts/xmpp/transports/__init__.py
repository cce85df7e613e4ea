"""Codecs of transports: one file for each kind, found by namespace."""
