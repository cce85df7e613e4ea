"""Keeps both processes alive, and has their descriptors, locks and local sockets."""
