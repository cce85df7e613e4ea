"""How each kind of transport is read and written: one file each, found by namespace."""
