"""A Kubernetes-compatible API server for one machine: kubectl, our manager and any Kubernetes client can use it."""

from bobrapet.local.apiserver.errors import ApiError, PortTaken, ServerError
from bobrapet.local.apiserver.server import ApiServer, Options, kubeconfig

__all__ = ["ApiError", "ApiServer", "Options", "PortTaken", "ServerError", "kubeconfig"]
