"""From kinds to resources (spec runtime OBJ-7)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bobrapet.runtime.client.apiutil import DynamicRESTMapper, RESTMapping, StaticRESTMapper
from bobrapet.runtime.errors import NoKindMatch, ServiceUnavailable
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.scheme import GroupVersionKind
from tests.unit.runtime.client_side.models import Planet, Widget
from tests.unit.runtime.client_side.stub import StubServer, failure, json

JOB = GroupVersionKind("batch", "v1", "Job")


def resources(*entries: tuple[str, str, bool]) -> Any:
    return json({"resources": [{"name": name, "kind": kind, "namespaced": ns} for name, kind, ns in entries]})


async def test_the_document_of_a_group_version_is_read_once(stub: StubServer) -> None:
    stub.answer(resources(("jobs", "Job", True), ("jobs/status", "Job", True), ("cronjobs", "CronJob", True)))
    async with RestClient(stub.config()) as rest:
        mapper = DynamicRESTMapper(rest)
        found = await asyncio.gather(*(mapper.rest_mapping(JOB) for _ in range(5)))
        await mapper.rest_mapping(JOB._replace(kind="CronJob"))
    assert found[0] == RESTMapping(JOB, "jobs", namespaced=True)
    assert [seen.path for seen in stub.seen] == ["/apis/batch/v1"]


async def test_a_kind_that_is_missing_is_looked_for_again_each_time(stub: StubServer) -> None:
    stub.answer(resources(("jobs", "Job", True)), resources(("jobs", "Job", True)), failure(404, "NotFound"))
    later = GroupVersionKind("batch", "v1", "Later")
    async with RestClient(stub.config()) as rest:
        mapper = DynamicRESTMapper(rest)
        await mapper.rest_mapping(JOB)
        for _ in range(2):
            with pytest.raises(NoKindMatch, match=r"'Later' in batch/v1"):
                await mapper.rest_mapping(later)
        stub.answer(resources(("laters", "Later", False)))
        assert not (await mapper.rest_mapping(later)).namespaced
    assert len(stub.seen) == 4


async def test_a_discovery_that_fails_is_no_missing_kind(stub: StubServer) -> None:
    stub.answer(failure(503, "ServiceUnavailable"), resources(("jobs", "Job", True)))
    async with RestClient(stub.config()) as rest:
        mapper = DynamicRESTMapper(rest)
        with pytest.raises(ServiceUnavailable):
            await mapper.rest_mapping(JOB)
        assert (await mapper.rest_mapping(JOB)).resource == "jobs"


async def test_the_core_group_has_its_own_path(stub: StubServer) -> None:
    stub.answer(resources(("pods", "Pod", True)))
    async with RestClient(stub.config()) as rest:
        mapping = await DynamicRESTMapper(rest).rest_mapping(GroupVersionKind("", "v1", "Pod"))
    assert stub.seen[0].path == "/api/v1"
    assert mapping.path("n", "p", "log") == "/api/v1/namespaces/n/pods/p/log"
    assert mapping.path() == "/api/v1/pods"


async def test_a_static_mapper_from_models() -> None:
    mapper = StaticRESTMapper.from_classes(Widget, Planet)
    planet = await mapper.rest_mapping(GroupVersionKind.parse(Planet.API_VERSION, "Planet"))
    assert planet.path("ignored", "earth") == "/apis/test.example.com/v1/planets/earth"
    with pytest.raises(NoKindMatch):
        await mapper.rest_mapping(JOB)
