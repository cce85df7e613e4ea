"""Administration: snapshots, commands, reports, metrics, and the local socket."""
