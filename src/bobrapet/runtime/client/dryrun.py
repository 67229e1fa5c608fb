"""A client that changes nothing: the server checks every write and forgets it (spec runtime CLI-12)."""

from __future__ import annotations

from typing import Any

from bobrapet.runtime.client.decorator import ClientDecorator, WriteVerb
from bobrapet.runtime.client.interfaces import WithWatch


class DryRunClient(ClientDecorator):
    def write_options(self, verb: WriteVerb, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "dry_run": True}


def new_dry_run_client(client: WithWatch) -> DryRunClient:
    """`client`, with every write as a dry run."""
    return DryRunClient(client)
