"""The kinds of transports: one file each, found by namespace."""
