"""Fakes for tests."""

from bobrapet.runtime.cache.informertest.fake_cache import FakeInformer, FakeInformers

__all__ = ["FakeInformer", "FakeInformers"]
