"""The output of a run with its offloaded data in it: what `bobrapet run` prints must outlive its control plane."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bobrapet.config.operator import OperatorConfig
from bobrapet.config.policy import storage_of
from bobrapet.manager import Options as ManagerOptions
from bobrapet.reconcilers.stores import Access, Stores
from bobrapet.storage import Budget, Retries, StorageError, Store, hydrate, references

if TYPE_CHECKING:
    from bobrapet.cli.following import Outcome
    from bobrapet.cli.stack import Stack

MAX_PRINTED_BYTES: Final = 64 << 20


async def with_payloads(stack: Stack, folder: Path, outcome: Outcome) -> Outcome:
    """The outcome with what its output refers to. What cannot be read stays a reference, and is told."""
    from bobrapet.cli.report import story_output

    output = story_output(outcome)
    if not outcome.succeeded or next(references(output), None) is None:
        return outcome
    access = Access(secrets=stack.client, config_namespace=ManagerOptions().config_namespace, claims=folder / "claims")
    stores, settings = Stores(access), storage_of(OperatorConfig(), story=outcome.story)
    if settings is None or not stores.reach(settings):
        return outcome

    def read(store: Store) -> Any:
        return hydrate(output, store, budget=Budget(MAX_PRINTED_BYTES), retries=Retries(delays=()))

    try:
        found = await stores.call(settings, outcome.run.metadata.namespace or "", read)
    except StorageError as error:
        print(f"the output has offloaded data that cannot be shown: {error}", file=sys.stderr)
        return outcome
    finally:
        await stores.close()
    return dataclasses.replace(outcome, output=found)
