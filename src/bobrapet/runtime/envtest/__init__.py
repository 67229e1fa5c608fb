"""A real API server for tests."""

from bobrapet.runtime.envtest.crd import install_crds, read_crds, uninstall_crds
from bobrapet.runtime.envtest.process import EnvironmentFailed
from bobrapet.runtime.envtest.server import Environment, Options

__all__ = ["Environment", "EnvironmentFailed", "Options", "install_crds", "read_crds", "uninstall_crds"]
