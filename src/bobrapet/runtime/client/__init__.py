"""Reading and writing objects of an API server."""
