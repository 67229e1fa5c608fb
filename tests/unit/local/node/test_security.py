"""What security contexts ask for."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.local.node.errors import ConfigInvalid
from bobrapet.local.node.security import CAPABILITIES, refuse_root, wish

from .pods import container


def test_the_container_wins_over_its_pod() -> None:
    pod_spec = {"securityContext": {"runAsUser": 1, "runAsGroup": 2, "supplementalGroups": [3, 4], "fsGroup": 4}}
    asked = wish(pod_spec, container(securityContext={"runAsUser": 0, "readOnlyRootFilesystem": True}))
    assert (asked.user, asked.group, asked.groups, asked.read_only_root) == (0, 2, (3, 4), True)


@pytest.mark.parametrize(
    ("context", "kept"),
    [
        ({"capabilities": {"drop": ["ALL"]}}, set()),
        ({"capabilities": {"drop": ["ALL"], "add": ["CAP_NET_RAW", "kill"]}}, {"NET_RAW", "KILL"}),
        ({"privileged": True}, set(CAPABILITIES)),
        ({"capabilities": {"add": ["ALL"], "drop": ["SYS_ADMIN"]}}, set(CAPABILITIES) - {"SYS_ADMIN"}),
    ],
)
def test_capabilities_are_dropped_before_they_are_added(context: dict[str, Any], kept: set[str]) -> None:
    dropped = wish({}, container(securityContext=context)).drop
    assert {CAPABILITIES[number] for number in dropped} == set(CAPABILITIES) - kept - ({"ALL"} & kept)


def test_what_a_runtime_gives_root_is_kept_when_nothing_is_said() -> None:
    dropped = {CAPABILITIES[number] for number in wish({}, container()).drop}
    assert {"SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"} <= dropped
    assert not {"CHOWN", "DAC_OVERRIDE", "KILL"} & dropped
    assert CAPABILITIES.index("SYS_ADMIN") == 21, "the numbers are those of the kernel"
    assert CAPABILITIES.index("CHECKPOINT_RESTORE") == 40


@pytest.mark.parametrize(
    ("pod_context", "own", "user", "message"),
    [
        ({"runAsNonRoot": True}, {}, 0, "would run as root.*set runAsUser"),
        ({"runAsNonRoot": True}, {"runAsUser": 0}, 0, "runAsUser breaks non-root policy"),
        ({}, {"runAsNonRoot": True}, 0, "would run as root"),
    ],
)
def test_a_pod_that_wants_no_root_gets_none(
    pod_context: dict[str, Any], own: dict[str, Any], user: int, message: str
) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        refuse_root({"securityContext": pod_context}, container(securityContext=own), user)


@pytest.mark.parametrize(
    ("pod_context", "own", "user"),
    [({}, {}, 0), ({"runAsNonRoot": True}, {}, 1000), ({"runAsNonRoot": True}, {"runAsNonRoot": False}, 0)],
)
def test_others_are_not_refused(pod_context: dict[str, Any], own: dict[str, Any], user: int) -> None:
    refuse_root({"securityContext": pod_context}, container(securityContext=own), user)
