"""Puts a backend through its paces: situations, and what must hold after each."""
