"""Storage that survives a restart of the process."""
