"""A Kubernetes-compatible API server for one machine: kubectl, our manager and any Kubernetes client can use it."""

from bobrapet.local.apiserver.errors import AddressUnusable, ApiError, IdentityDamaged, PortTaken, ServerError
from bobrapet.local.apiserver.server import ApiServer, Options, kubeconfig
from bobrapet.local.apiserver.subresources import LogSource

__all__ = [
    "AddressUnusable",
    "ApiError",
    "ApiServer",
    "IdentityDamaged",
    "LogSource",
    "Options",
    "PortTaken",
    "ServerError",
    "kubeconfig",
]
