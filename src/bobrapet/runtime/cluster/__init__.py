"""One API server and what we keep of it."""

from bobrapet.runtime.cluster.cluster import Cluster, Options, new

__all__ = ["Cluster", "Options", "new"]
