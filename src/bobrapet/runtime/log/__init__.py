"""Logging of the runtime."""
