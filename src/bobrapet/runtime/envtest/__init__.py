"""A real API server for tests."""

from bobrapet.runtime.envtest.crd import install_crds, read_crds, uninstall_crds
from bobrapet.runtime.envtest.komega import NeverHappened, eventually, eventually_gone
from bobrapet.runtime.envtest.ports import PortLease
from bobrapet.runtime.envtest.process import EnvironmentFailed
from bobrapet.runtime.envtest.server import Environment, Options
from bobrapet.runtime.envtest.webhook import LocalServing, install_webhooks, read_webhooks, uninstall_webhooks

__all__ = [
    "Environment",
    "EnvironmentFailed",
    "LocalServing",
    "NeverHappened",
    "Options",
    "PortLease",
    "eventually",
    "eventually_gone",
    "install_crds",
    "install_webhooks",
    "read_crds",
    "read_webhooks",
    "uninstall_crds",
    "uninstall_webhooks",
]
