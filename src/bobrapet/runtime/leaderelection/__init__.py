"""Leader election."""

from bobrapet.runtime.leaderelection.elector import Callbacks, LeaderElector
from bobrapet.runtime.leaderelection.errors import ElectionError, ElectionMisconfigured, LeadershipLost
from bobrapet.runtime.leaderelection.healthz import HealthzAdaptor
from bobrapet.runtime.leaderelection.leader_election import new_identity, new_resource_lock

__all__ = [
    "Callbacks",
    "ElectionError",
    "ElectionMisconfigured",
    "HealthzAdaptor",
    "LeaderElector",
    "LeadershipLost",
    "new_identity",
    "new_resource_lock",
]
