"""The attacks and faults that the relay has to stand, as one table; `scripts/threats` runs it."""
