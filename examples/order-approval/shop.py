"""The components of a small shop. They share an image; which one a step runs is said by the name of its Engram.

Everything that the shop does to the world is a line in a ledger file, so that a reader sees what happened, in which
order, and how often.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bobrapet.sdk import Context, RetryError, TerminalError, engram, main


@dataclass
class Order:
    id: str
    amount: float
    ledger: str
    """File that stands for warehouse, bank and carrier."""
    address: str = ""
    flaky_bank: bool = False
    """Whether the connection to the bank breaks right after the first charge."""


@dataclass
class Ledger:
    ledger: str
    order: str


@dataclass
class Done:
    reference: str


@engram(image="example/shop:1.0.0")
def reserve(input: Order) -> Done:
    """Takes the goods from the shelf."""
    return Done(_write(input.ledger, f"reserve {input.id}"))


@engram(image="example/shop:1.0.0")
def charge(input: Order, ctx: Context) -> Done:
    """Charges the card: once, however often the step is tried."""
    with ctx.effect("charge", input.id) as payment:
        payment.record(reference=_write(input.ledger, f"charge {input.id} {input.amount:.2f}"))
    if input.flaky_bank and ctx.attempt == 1:
        raise RetryError("the connection broke after the charge", code="BANK_GONE")
    return Done(payment.details["reference"])


@engram(image="example/shop:1.0.0")
def ship(input: Order) -> Done:
    """Hands the parcel to the carrier."""
    if not input.address:
        raise TerminalError(f"order {input.id} has no address", code="NO_ADDRESS")
    return Done(_write(input.ledger, f"ship {input.id} to {input.address}"))


@engram(image="example/shop:1.0.0")
def refund(input: Ledger, ctx: Context) -> Done:
    """Gives the money back: once."""
    with ctx.effect("refund", input.order) as payment:
        payment.record(reference=_write(input.ledger, f"refund {input.order}"))
    return Done(payment.details["reference"])


@engram(image="example/shop:1.0.0")
def release(input: Ledger) -> Done:
    """Puts the goods back on the shelf."""
    return Done(_write(input.ledger, f"release {input.order}"))


@engram(image="example/shop:1.0.0")
def notify(input: Ledger) -> Done:
    """Tells the customer that the order is closed, however it ended."""
    return Done(_write(input.ledger, f"notify {input.order}"))


COMPONENTS = (reserve, charge, ship, refund, release, notify)


def _write(ledger: str, line: str) -> str:
    """Appends a line; its number is the reference."""
    with Path(ledger).open("a+") as file:
        file.seek(0)
        number = len(file.readlines()) + 1
        file.write(line + "\n")
    return f"no-{number}"


if __name__ == "__main__":
    main(*COMPONENTS)
