"""How calls come in: one package for each front."""
