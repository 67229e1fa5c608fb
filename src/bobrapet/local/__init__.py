"""The embedded control plane: API server, workload controllers, process runner."""
