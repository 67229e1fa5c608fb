"""bobrapet: a declarative workflow engine for Kubernetes that also runs on a laptop without a cluster."""

__version__ = "0.1.0"
