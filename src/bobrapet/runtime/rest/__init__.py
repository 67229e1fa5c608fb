"""HTTP for an API server: configuration, credentials, connections."""
