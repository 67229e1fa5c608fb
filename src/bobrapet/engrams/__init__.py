"""The components we ship."""
