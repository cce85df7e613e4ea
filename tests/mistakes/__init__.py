"""Mistakes that operators make: each is made on real parts, and what the answer says is done."""
