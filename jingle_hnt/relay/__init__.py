"""What latching and leasing mean, as pure rules: no socket, no clock, no randomness."""
