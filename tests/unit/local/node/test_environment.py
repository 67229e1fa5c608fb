from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.local.node import quantity
from bobrapet.local.node.environment import Machine, Objects, command_line, environment, expand, references
from bobrapet.local.node.errors import ConfigInvalid

from .pods import container, pod

MACHINE = Machine("here", cpu="2", memory="1Gi")


def b64(text: str | bytes) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


OBJECTS = Objects(
    secrets={"s": {"data": {"key": b64("hush"), "bytes": b64(b"\xff\xfe"), "bad=name": b64("x")}}},
    config_maps={"c": {"data": {"key": "plain"}, "binaryData": {"raw": b64("r")}}},
)


def env(*entries: dict[str, Any], **fields: Any) -> dict[str, str]:
    spec = container(env=list(entries), **fields)
    return environment(pod(spec), spec, OBJECTS, MACHINE, {"PATH": "/bin"})


def from_field(path: str) -> str:
    return env({"name": "V", "valueFrom": {"fieldRef": {"fieldPath": path}}})["V"]


def from_key(kind: str, name: str, key: str, **extra: Any) -> dict[str, str]:
    return env({"name": "V", "valueFrom": {kind: {"name": name, "key": key, **extra}}})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "uid-p"),
        ("metadata.labels['app']", "x"),
        ("metadata.annotations['note/one']", "1"),
        ("metadata.labels['absent']", ""),
        ("metadata.labels", 'app="x"\ntier="a\\"b"'),
        ("spec.serviceAccountName", "default"),
        ("spec.nodeName", "here"),
        ("status.podIP", "127.0.0.1"),
        ("status.hostIP", "127.0.0.1"),
    ],
)
def test_the_downward_api_gives_every_field_that_a_kubelet_gives(path: str, value: str) -> None:
    assert from_field(path) == value


def test_a_field_that_the_downward_api_lacks_is_a_configuration_error() -> None:
    with pytest.raises(ConfigInvalid, match=r"spec\.containers"):
        from_field("spec.containers")


def test_values_expand_what_was_defined_before_and_leave_the_rest() -> None:
    result = env(
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)-$(C)-$$(A)-$(PATH)"},
        {"name": "C", "value": "3"},
        {"name": "EMPTY"},
    )
    assert result == {"PATH": "/bin", "A": "1", "B": "1-$(C)-$(A)-/bin", "C": "3", "EMPTY": ""}


@given(st.text(alphabet="$()AB x", max_size=30))
def test_expansion_is_that_of_kubernetes_for_any_text(text: str) -> None:
    # The reference: a scanner that goes through the text once, as the documentation describes it.
    known, result, i = {"A": "(1)", "AB": "$"}, "", 0
    while i < len(text):
        if text.startswith("$$", i):
            result, i = result + "$", i + 2
        elif text.startswith("$(", i) and (end := _closing(text, i)) >= 0:
            name = text[i + 2 : end]
            result, i = result + known.get(name, text[i : end + 1]), end + 1
        else:
            result, i = result + text[i], i + 1
    assert expand(text, known) == result


def _closing(text: str, start: int) -> int:
    end = text.find(")", start)
    return -1 if end < 0 or "(" in text[start + 2 : end] else end


def test_later_sources_win_over_earlier_ones_and_env_over_env_from() -> None:
    spec = container(
        envFrom=[{"prefix": "P_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}],
        env=[{"name": "key", "value": "mine"}],
    )
    result = environment(pod(spec), spec, OBJECTS, MACHINE, {"key": "base", "PATH": "/bin"})
    assert result["P_key"] == "plain"
    assert result["P_raw"] == "r"
    assert result["key"] == "mine"
    assert "bad=name" not in result


def test_bytes_of_a_secret_reach_the_process_unchanged() -> None:
    assert from_key("secretKeyRef", "s", "bytes")["V"].encode("utf-8", "surrogateescape") == b"\xff\xfe"


@pytest.mark.parametrize(
    ("kind", "name", "key", "message"),
    [
        ("secretKeyRef", "none", "key", 'secret "none" not found'),
        ("secretKeyRef", "s", "none", "couldn't find key none in Secret 's'"),
        ("configMapKeyRef", "none", "key", 'configmap "none" not found'),
    ],
)
def test_a_missing_object_or_key_is_named_unless_it_is_optional(kind: str, name: str, key: str, message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        from_key(kind, name, key)
    assert "V" not in from_key(kind, name, key, optional=True)


def test_a_missing_env_from_is_named_unless_it_is_optional() -> None:
    with pytest.raises(ConfigInvalid, match='secret "none" not found'):
        env(envFrom=[{"secretRef": {"name": "none"}}])
    assert env(envFrom=[{"secretRef": {"name": "none", "optional": True}}]) == {"PATH": "/bin"}


def test_a_nul_byte_is_refused_before_the_process_is_started() -> None:
    with pytest.raises(ConfigInvalid, match="NUL"):
        env({"name": "V", "value": "a\0b"})


def test_resources_are_counted_in_the_divisor_and_default_to_the_machine() -> None:
    limits = {"resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}}

    def resource(name: str, divisor: str = "", **fields: Any) -> str:
        reference = {"resource": name, "divisor": divisor}
        return env({"name": "V", "valueFrom": {"resourceFieldRef": reference}}, **fields)["V"]

    assert resource("limits.cpu", **limits) == "2"
    assert resource("limits.cpu", "1m", **limits) == "1500"
    assert resource("limits.memory", "1Mi", **limits) == "64"
    assert resource("limits.memory") == str(1 << 30)
    assert resource("requests.cpu") == "0"


@pytest.mark.parametrize(
    ("text", "value"), [("1e3", "1000"), ("0.5", "1"), ("3k", "3000"), ("1500u", "1"), (".5Gi", "536870912")]
)
def test_quantities_are_read_in_every_notation(text: str, value: str) -> None:
    assert quantity.in_units(text, None) == value


def test_the_command_line_follows_the_table_of_entrypoint_and_cmd() -> None:
    image = ("python", "tool.py")
    assert command_line(container(), image, {}) == ["python", "tool.py"]
    assert command_line(container(args=["$(A)"]), image, {"A": "1"}) == ["python", "tool.py", "1"]
    assert command_line(container(command=["sh", "-c"], args=["x"]), image, {}) == ["sh", "-c", "x"]
    with pytest.raises(ConfigInvalid, match="no command specified"):
        command_line(container(), (), {})


def test_references_name_each_object_that_the_environment_needs() -> None:
    spec = container(
        envFrom=[{"secretRef": {"name": "a"}}, {"configMapRef": {"name": "b"}}],
        env=[
            {"name": "x", "valueFrom": {"secretKeyRef": {"name": "c", "key": "k"}}},
            {"name": "y", "valueFrom": {"configMapKeyRef": {"name": "d", "key": "k"}}},
        ],
    )
    assert list(references(spec)) == [("Secret", "a"), ("ConfigMap", "b"), ("Secret", "c"), ("ConfigMap", "d")]
