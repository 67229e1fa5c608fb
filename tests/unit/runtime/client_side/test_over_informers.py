"""The fake server feeds real informers, so a whole operator can be tested without a cluster."""

from __future__ import annotations

import asyncio

import pytest

from bobrapet.runtime.client.apiutil import StaticRESTMapper
from bobrapet.runtime.client.fake import ClientBuilder
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.cluster import Options, new
from bobrapet.runtime.errors import NotFound
from tests.unit.runtime.client_side.models import Widget, config_map, widget

KEY = ObjectKey("default", "w")


@pytest.mark.spec("runtime-86")
async def test_reads_come_from_informers_and_writes_go_to_the_server(clock: FakeClock) -> None:
    fake = ClientBuilder().with_types(Widget).with_objects(widget("seeded", size=1), config_map()).build()
    options = Options(
        rest=fake.server,
        scheme=fake.scheme,
        mapper_provider=lambda _: StaticRESTMapper.from_classes(Widget),
        read_your_writes=True,
    )
    cluster = await new(None, options, clock=clock)  # no read gives up waiting for our own write
    running = asyncio.create_task(cluster.start())
    await settle()
    try:
        async with asyncio.timeout(60):
            seeded = await cluster.client.get(Widget, ObjectKey("default", "seeded"))
            assert seeded.spec is not None
            assert seeded.spec.size == 1

            created = await cluster.client.create(widget(size=1))
            for size in range(2, 6):
                assert created.spec is not None
                created.spec.size = size
                created = await cluster.client.update(created)
                read = await cluster.client.get(Widget, KEY)
                assert read.metadata.resource_version == created.metadata.resource_version
            assert len(await cluster.client.list(Widget)) == 2

            requests = []
            answer = fake.server.request

            async def counted(method: str, *arguments: object, **more: object) -> bytes:
                requests.append(method)
                return await answer(method, *arguments, **more)  # type: ignore[arg-type]

            fake.server.request = counted  # type: ignore[method-assign]
            await cluster.client.get(Widget, KEY)
            await cluster.client.list(Widget)
            assert requests == [], "cached reads ask no server"
            await cluster.api_reader.get(Widget, KEY)
            assert requests == ["GET"]

            await cluster.client.delete(created)
            with pytest.raises(NotFound):
                await cluster.client.get(Widget, KEY)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await cluster.close()


async def test_informers_resume_after_the_server_ended_their_watches_and_forgot_its_history(clock: FakeClock) -> None:
    fake = ClientBuilder().with_types(Widget).with_objects(widget("seeded")).build()
    options = Options(rest=fake.server, scheme=fake.scheme, read_your_writes=True)
    cluster = await new(None, options, clock=clock)
    running = asyncio.create_task(cluster.start())
    await settle()
    try:
        await cluster.client.list(Widget)
        fake.tracker.end_watches()
        await fake.create(widget("meanwhile"))
        fake.tracker.compact()
        fake.tracker.end_watches()
        await cluster.client.create(widget())
        # The informer pauses for 1.6 seconds at most, and the read waits for two.
        reading = asyncio.create_task(cluster.client.get(Widget, KEY))
        await clock.advance(1.9)
        assert reading.done()
        assert (await reading).metadata.name == "w"
        assert {obj.metadata.name for obj in await cluster.client.list(Widget)} == {"seeded", "meanwhile", "w"}
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await cluster.close()
