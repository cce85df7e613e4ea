"""Two processes kept alive, and what they share: descriptors, locks and local sockets."""
