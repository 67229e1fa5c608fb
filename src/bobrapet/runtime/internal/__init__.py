"""Machinery that is private to the runtime."""
