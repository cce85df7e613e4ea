"""Fronts bring calls in: one package for each."""
