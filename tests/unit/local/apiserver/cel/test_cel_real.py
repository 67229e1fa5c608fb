"""The same rules on this server and on a real kube-apiserver: the same verdicts in the same words."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from bobrapet.local.apiserver import ApiServer
from bobrapet.runtime.envtest import Environment
from tests.unit.local.apiserver.builders import CRDS, MERGE, RULES_GROUP, rules_crd
from tests.unit.local.apiserver.cel.corpus import (
    COSTLY,
    FAILING,
    FALSE,
    REFUSED,
    ROOT_RULES,
    RULES,
    SAMPLE,
    SCHEMA,
    STATUS,
    TRUE,
    WRITES,
)
from tests.unit.local.apiserver.conftest import Answer, Client, client_session
from tests.unit.local.apiserver.test_real import REAL

pytestmark = [*REAL, pytest.mark.asyncio(loop_scope="module")]


class _Real:
    """A real kube-apiserver, to be asked like ours."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.admin_token = token
        self.ca_pem = ""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worlds() -> AsyncIterator[tuple[Client, Client]]:
    environment = Environment()
    config = await asyncio.to_thread(environment.start)
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    server = ApiServer()
    await server.start()
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session,
            client_session(server) as our_session,
        ):
            yield Client(_Real(config.host, config.token or ""), session), Client(server, our_session)
    finally:
        await server.stop()
        await asyncio.to_thread(environment.stop)


def shown(answer: Answer) -> Any:
    """The verdict: faults in any order, warnings, types without the number that a real server gives them."""
    causes = (answer.body.get("details") or {}).get("causes") or ()
    faults = {
        (cause["field"], cause["reason"], re.sub(r"selfType\d+", "selfType", cause["message"])) for cause in causes
    }
    warnings = sorted(answer.headers.getall("Warning", ()))
    return answer.code, sorted(faults), warnings


def differences(theirs: Sequence[Any], ours: Sequence[Any], labels: Sequence[Any]) -> str:
    return "\n".join(
        f"{label}\n  theirs: {their}\n  ours:   {our}"
        for label, their, our in zip(labels, theirs, ours, strict=True)
        if their != our
    )


async def test_rules_are_accepted_and_refused_alike(worlds: tuple[Client, Client]) -> None:
    schemas = [(SCHEMA, rule) for rule in (*TRUE, *FALSE, *FAILING, *REFUSED)] + [*COSTLY]

    async def verdicts(api: Client) -> list[Any]:
        answers = []
        for schema, rule in schemas:
            definition = rules_crd({**schema, "x-kubernetes-validations": [{"rule": rule}]})
            answers.append(shown(await api("POST", CRDS, definition, dryRun="All")))
        return answers

    theirs, ours = await asyncio.gather(*map(verdicts, worlds))

    assert not (found := differences(theirs, ours, [rule for _, rule in schemas])), found


async def test_selectable_fields_are_accepted_and_refused_alike(worlds: tuple[Client, Client]) -> None:
    text = {"type": "string"}
    inner = {"type": "object", "properties": {"i": {"type": "integer"}}}
    listed = {"type": "array", "items": text}
    spec = {"type": "object", "properties": {"s": text, "o": inner, "l": listed, "n": {"type": "number"}}}
    paths = [
        [".spec.s", ".spec.o.i"], [".spec.zz"], [".spec.o"], [".spec.l"], [".spec.n"], [""], ["spec.s"], [".spec.l[0]"],
        [".spec.s", ".spec.s"], [".spec['s']"],
    ]  # fmt: skip

    async def verdicts(api: Client) -> list[Any]:
        answers = []
        for chosen in paths:
            definition = rules_crd(spec)
            definition["spec"]["versions"][0]["selectableFields"] = [{"jsonPath": path} for path in chosen]
            answers.append(shown(await api("POST", CRDS, definition, dryRun="All")))
        return answers

    theirs, ours = await asyncio.gather(*map(verdicts, worlds))

    assert not (found := differences(theirs, ours, paths)), found


async def established(api: Client, definition: dict[str, Any]) -> str:
    """Creates the definition; returns the path of its objects, once they are served."""
    created = await api("POST", CRDS, definition)
    assert created.code == 201, created.body
    path = f"/apis/{RULES_GROUP}/v1/namespaces/default/{definition['spec']['names']['plural']}"
    async with asyncio.timeout(120):
        while (await api("GET", path)).code != 200:  # noqa: ASYNC110 - another process: nothing to wait on
            await asyncio.sleep(0.05)
    return path


async def test_expressions_have_the_same_outcome(worlds: tuple[Client, Client]) -> None:
    rules = [{"rule": rule} for rule in (*TRUE, *FALSE, *FAILING)]
    definition = rules_crd({**SCHEMA, "x-kubernetes-validations": rules}, name="sample")

    async def outcomes(api: Client) -> Any:
        path = await established(api, definition)
        return shown(await api("POST", path, made("sample", "x", SAMPLE)))

    theirs, ours = await asyncio.gather(*map(outcomes, worlds))

    assert len(ours[1]) == len(FALSE) + len(FAILING)
    assert ours == theirs


async def test_objects_are_accepted_and_refused_alike(worlds: tuple[Client, Client]) -> None:
    definition = rules_crd(RULES, name="ruled", status=STATUS, root_rules=ROOT_RULES)

    async def verdicts(api: Client) -> list[Any]:
        path = await established(api, definition)
        answers = []
        for number, (first, second) in enumerate(WRITES):
            answers.append(shown(await api("POST", path, made("ruled", f"o{number}", first))))
            answers.append(shown(await api("PATCH", f"{path}/o{number}", {"spec": second}, type=MERGE)))
        answers.append(shown(await api("POST", path, made("ruled", "forbidden", {}))))
        answers.append(shown(await api("PATCH", f"{path}/o0/status", {"status": {"n": -1}}, type=MERGE)))
        answers.append(shown(await api("PATCH", f"{path}/o0/status", {"status": {"n": 1}}, type=MERGE)))
        answers.append(shown(await api("PATCH", f"{path}/o0/status", {"status": {"n": 5}}, type=MERGE)))
        answers.append(shown(await api("PATCH", f"{path}/o0", {"spec": {"min": 5, "max": 6}}, type=MERGE)))
        return answers

    labels = [step for write in WRITES for step in write] + ["the name", "status", "n is min", "n", "min is n"]
    theirs, ours = await asyncio.gather(*map(verdicts, worlds))

    assert not (found := differences(theirs, ours, labels)), found


async def test_a_new_rule_only_warns_about_what_an_update_leaves_alone(worlds: tuple[Client, Client]) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
    ruled = {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 5"}]},
            "b": {"type": "integer"},
        },
        "x-kubernetes-validations": [{"rule": "self.a > self.b", "message": "a over b"}],
    }

    async def verdicts(api: Client) -> list[Any]:
        path = await established(api, rules_crd(schema, name="older"))
        await api("POST", path, made("older", "x", {"a": 1, "b": 2}))
        new = rules_crd(ruled, name="older")["spec"]["versions"]
        patched = await api("PATCH", f"{CRDS}/olders.{RULES_GROUP}", {"spec": {"versions": new}}, type=MERGE)
        assert patched.code == 200, patched.body
        async with asyncio.timeout(120):
            while (await api("POST", path, made("older", "y", {"a": 1, "b": 2}), dryRun="All")).code != 422:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        label = await api("PATCH", f"{path}/x", {"metadata": {"labels": {"l": "1"}}}, type=MERGE)
        other = await api("PATCH", f"{path}/x", {"spec": {"b": 3}}, type=MERGE)
        return [shown(label), shown(other)]

    theirs, ours = await asyncio.gather(*map(verdicts, worlds))

    assert ours == theirs


def made(name: str, instance: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": f"{RULES_GROUP}/v1",
        "kind": name.title(),
        "metadata": {"name": instance},
        "spec": spec,
    }
