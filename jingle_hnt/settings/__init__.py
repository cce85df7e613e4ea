"""Settings: their model, their file, what is in force, and the small values made of them."""
