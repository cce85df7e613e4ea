"""What survives a restart of the process."""
