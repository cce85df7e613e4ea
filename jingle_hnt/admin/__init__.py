"""What an administrator may see and do: snapshots, commands, the local socket they come through."""
