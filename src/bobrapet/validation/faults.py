"""What a check finds: faults, which refuse an object, and warnings, which do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final

MAX_SHOWN: Final = 64
"""Characters of an offending value that a message shows."""


class FaultReason(StrEnum):
    """Why a field is refused: the causes of a Kubernetes `Status`."""

    REQUIRED = "FieldValueRequired"
    INVALID = "FieldValueInvalid"
    DUPLICATE = "FieldValueDuplicate"
    NOT_FOUND = "FieldValueNotFound"
    NOT_SUPPORTED = "FieldValueNotSupported"
    FORBIDDEN = "FieldValueForbidden"
    TOO_LONG = "FieldValueTooLong"
    TOO_MANY = "FieldValueTooMany"
    TYPE_INVALID = "FieldValueTypeInvalid"
    UNKNOWN = "FieldValueUnknown"
    """A field that the kind does not have. Kubernetes has no word for it; as a cause it is FieldValueInvalid."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, where, and what would be right."""

    field: str
    """Path with indexes, such as `spec.steps[1].needs[0]`; empty for the object as a whole."""
    reason: FaultReason
    message: str
    value: Any = None
    """The offending value, where it helps; messages already show it, cut to a sane length."""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message

    def cause(self) -> dict[str, str]:
        """The entry of `status.details.causes` of a Kubernetes answer."""
        reason = FaultReason.INVALID if self.reason is FaultReason.UNKNOWN else self.reason
        return {"reason": reason.value, "message": self.message, "field": self.field or "<nil>"}


@dataclass(slots=True)
class Findings:
    """Collects what the checks of one object find. Every fault is listed, not only the first."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def is_valid(self) -> bool:
        return not self.faults

    def add(self, field: str, reason: FaultReason, message: str, value: Any = None) -> None:
        self.faults.append(Fault(field, reason, message, value))

    def required(self, field: str, message: str = "required") -> None:
        self.add(field, FaultReason.REQUIRED, message)

    def invalid(self, field: str, message: str, value: Any = None) -> None:
        self.add(field, FaultReason.INVALID, message, value)

    def forbidden(self, field: str, message: str) -> None:
        self.add(field, FaultReason.FORBIDDEN, message)

    def duplicate(self, field: str, message: str, value: Any = None) -> None:
        self.add(field, FaultReason.DUPLICATE, message, value)

    def not_found(self, field: str, message: str, value: Any = None) -> None:
        self.add(field, FaultReason.NOT_FOUND, message, value)

    def not_supported(self, field: str, value: str, known: Iterable[str], what: str = "value") -> None:
        """A word that is none of `known`; names the nearest."""
        words = list(known)
        self.add(
            field,
            FaultReason.NOT_SUPPORTED,
            f"unknown {what} {quoted(value)}; {one_of(words)}{did_you_mean(value, words)}",
            value,
        )

    def warn(self, field: str, message: str) -> None:
        text = f"{field}: {message}" if field else message
        if text not in self.warnings:
            self.warnings.append(text)

    def include(self, other: Findings) -> None:
        self.faults += other.faults
        self.warnings += [warning for warning in other.warnings if warning not in self.warnings]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "fetch"?` for the nearest known word, or nothing."""
    words = list(known)
    folded = {candidate.casefold(): candidate for candidate in words}
    close = get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.6)
    return f"; did you mean {quoted(folded[close[0]])}?" if close else ""


def quoted(value: Any) -> str:
    """A value as a message shows it: in quotes, one line, cut to a sane length."""
    text = value if isinstance(value, str) else str(value)
    text = text.replace("\n", "\\n")
    if len(text) > MAX_SHOWN:
        text = f"{text[: MAX_SHOWN - 3]}..."
    return f'"{text}"'


def one_of(words: Iterable[str]) -> str:
    """`must be one of a, b, c`; long lists are cut."""
    listed = list(words)
    shown = ", ".join(listed[:12]) + (", ..." if len(listed) > 12 else "")
    return f"must be {shown}" if len(listed) == 1 else f"must be one of {shown}"
