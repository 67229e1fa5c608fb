"""The configuration follows its ConfigMap; what is wrong with it does no harm and is told (admission-and-config B1)."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from bobrapet.config.operator import OperatorConfig
from bobrapet.reconcilers.builtin import ConfigMap
from bobrapet.reconcilers.operatorconfig import ConfigSource, ConfigurationRefused, OperatorConfigReconciler
from bobrapet.runtime.client.fake import ClientBuilder
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.log import log
from bobrapet.runtime.reconcile import Request
from tests.unit.logs import restored

KEY = ObjectKey("bobrapet-system", "bobrapet-operator-config")


class Cluster:
    """A ConfigMap, and the source that follows it."""

    def __init__(self) -> None:
        self.client = ClientBuilder().build()
        self.source = ConfigSource(KEY)
        self.reconciler = OperatorConfigReconciler(self.source, self.client)

    async def says(self, **data: str) -> OperatorConfig:
        """The ConfigMap changes, and the operator hears of it."""
        wanted = {key.replace("__", ".").replace("_", "-"): value for key, value in data.items()}
        metadata = {"name": KEY.name, "namespace": KEY.namespace}
        obj = ConfigMap({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": wanted})
        try:
            found = await self.client.get(ConfigMap, KEY)
        except Exception:
            await self.client.create(obj)
        else:
            found.object["data"] = wanted
            await self.client.update(found)
        await self.reconciler.reconcile(Request(*KEY))
        return self.source()


class Lines:
    """What was logged."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    def about(self, key: str) -> dict[str, Any]:
        """The only line about a key."""
        told = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        (line,) = [line for line in told if line.get("key") == key]
        return line


@pytest.fixture
def lines() -> Iterator[Lines]:
    with restored() as stream:
        log.setup(level=log.INFO, encoder="json", stream=stream)
        yield Lines(stream)


async def test_a_key_that_goes_has_its_default_again() -> None:
    cluster = Cluster()
    assert (await cluster.says(retry__max_retries="7")).max_retries == 7
    assert (await cluster.says()).max_retries == 3


async def test_a_value_that_cannot_be_read_is_logged_with_key_value_and_rule_and_the_rest_counts(lines: Lines) -> None:
    config = await Cluster().says(retry__max_retries="many", job__backoff_limit="2")
    assert (config.max_retries, config.job.backoff_limit) == (3, 2)
    line = lines.about("retry.max-retries")
    assert (line["value"], line["rule"]) == ("many", "a whole number, at least 0, more than 50 means 50")


async def test_a_fatal_value_leaves_the_previous_configuration_and_is_logged(lines: Lines) -> None:
    cluster = Cluster()
    before = await cluster.says(retry__max_retries="7")
    with pytest.raises(ConfigurationRefused, match="must be one of deny, grant, allow"):
        await cluster.says(retry__max_retries="8", references__cross_namespace_policy="maybe")
    assert cluster.source() is before
    line = lines.about("references.cross-namespace-policy")
    assert (line["value"], line["rule"]) == ("maybe", "one of deny, grant, allow")
    assert (await cluster.says(retry__max_retries="8")).max_retries == 8


async def test_a_deleted_config_map_means_the_defaults() -> None:
    cluster = Cluster()
    await cluster.says(retry__max_retries="7")
    await cluster.client.delete(await cluster.client.get(ConfigMap, KEY))
    await cluster.reconciler.reconcile(Request(*KEY))
    assert cluster.source() == OperatorConfig()


async def test_verbose_logging_follows_the_key_and_gives_the_level_back(lines: Lines) -> None:
    cluster = Cluster()
    await cluster.says(debug__enable_verbose_logging="true")
    assert log.current_level() == log.DEBUG
    await cluster.says(debug__enable_verbose_logging="false")
    assert log.current_level() == log.INFO


async def test_other_config_maps_are_none_of_its_business() -> None:
    cluster = Cluster()
    await cluster.says(retry__max_retries="7")
    before = cluster.source()
    await cluster.reconciler.reconcile(Request("default", KEY.name))
    assert cluster.source() is before
