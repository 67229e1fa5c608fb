"""Faults on demand, for tests."""

from bobrapet.runtime.client.interceptor.intercept import Funcs, Interceptor

__all__ = ["Funcs", "Interceptor"]
