"""Shared configuration."""

from bobrapet.runtime.config.controller import Controller

__all__ = ["Controller"]
