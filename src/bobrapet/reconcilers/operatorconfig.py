"""The operator's configuration as it is now: read at the start, followed while it runs (admission-and-config B1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from bobrapet.config.operator import OperatorConfig, parse
from bobrapet.reconcilers.builtin import ConfigMap
from bobrapet.reconcilers.rbac import READ, Rule
from bobrapet.runtime.client.interfaces import Reader, get_or_none
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.event import GenericEvent
from bobrapet.runtime.log.log import DEBUG, current_level, get_logger, set_level
from bobrapet.runtime.reconcile import Request, Result

RBAC: Final = (Rule("", ("configmaps",), READ),)

log = get_logger("operator-config")


class ConfigurationRefused(Exception):
    """The ConfigMap has values that must not be used; each is named with what would be right."""


class ConfigSource:
    """Holds the configuration. Without the ConfigMap it is what was compiled in; `overrides` (from flags, by the keys
    of the ConfigMap) win over both."""

    def __init__(self, key: ObjectKey, overrides: Mapping[str, str] | None = None) -> None:
        self.key = key
        self.overrides = dict(overrides or {})
        self._config = OperatorConfig()
        self._own_level: int | None = None
        """The log level that verbose logging replaced."""
        self._listeners: list[asyncio.Queue[GenericEvent[Any]]] = []

    def __call__(self) -> OperatorConfig:
        return self._config

    async def load(self, reader: Reader) -> None:
        """Raises ConfigurationRefused, and then keeps the configuration that it has."""
        found = await get_or_none(reader, ConfigMap, self.key)
        data = found.get("data") or {} if found is not None else {}
        loaded = parse({**data, **self.overrides})
        for problem in loaded.problems:
            told = "configuration value ignored" if problem.ignored else "configuration value may not be meant so"
            log.warning(told, key=problem.key, value=problem.value, rule=problem.rule, problem=problem.message)
        if not loaded.is_usable:
            raise ConfigurationRefused(
                f"ConfigMap {self.key}: " + "; ".join(str(problem) for problem in loaded.problems if problem.fatal)
            )
        if loaded.config != self._config:
            self._config = loaded.config
            self._set_verbosity(loaded.config.debug.enable_verbose_logging)
            for listener in self._listeners:
                listener.put_nowait(GenericEvent(found))
            log.info("configuration loaded", configMap=str(self.key), set=sorted(loaded.sources.values()))

    def _set_verbosity(self, verbose: bool) -> None:
        if verbose and self._own_level is None:
            self._own_level = current_level()
            set_level(DEBUG)
        elif not verbose and self._own_level is not None:
            set_level(self._own_level)
            self._own_level = None

    def changes(self) -> AsyncIterator[GenericEvent[Any]]:
        """An event each time that the configuration became another one, from now on."""
        listener: asyncio.Queue[GenericEvent[Any]] = asyncio.Queue()
        self._listeners.append(listener)
        return _follow(listener)


async def _follow(listener: asyncio.Queue[GenericEvent[Any]]) -> AsyncIterator[GenericEvent[Any]]:
    while True:
        yield await listener.get()


class OperatorConfigReconciler:
    """Loads the ConfigMap again when it changes. A refused one is tried again with back-off, as any failure."""

    def __init__(self, source: ConfigSource, reader: Reader) -> None:
        self._source = source
        self._reader = reader

    async def reconcile(self, request: Request) -> Result:
        if request.key == self._source.key:
            await self._source.load(self._reader)
        return Result()
