"""A client without a cluster."""

from bobrapet.runtime.client.fake.client import ClientBuilder, FakeClient
from bobrapet.runtime.client.fake.server import FakeServer
from bobrapet.runtime.client.fake.tracker import VersionedTracker

__all__ = ["ClientBuilder", "FakeClient", "FakeServer", "VersionedTracker"]
