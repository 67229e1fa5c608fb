"""Finding the configuration of a client."""

from bobrapet.runtime.client.config.config import get_config, load_in_cluster, load_kubeconfig

__all__ = ["get_config", "load_in_cluster", "load_kubeconfig"]
