"""Named formats: `format.dns1123Label().validate(self.name)` gives the faults, or nothing."""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

from bobrapet.local.apiserver.cel import types
from bobrapet.local.apiserver.cel.functions import Functions
from bobrapet.local.apiserver.cel.types import FORMAT, STRING
from bobrapet.local.apiserver.cel.values import NONE, NamedFormat, Optional, date, timestamp

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_NAME_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_NAME_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")


def declare(functions: Functions) -> None:
    """Adds this family."""
    for name in _FORMATS:
        functions.add(f"format.{name}", f"format.{name}", (), FORMAT, lambda name=name: NamedFormat(name))
    functions.add("format.named", "format-named", (STRING,), types.optional_of(FORMAT), _named)
    result = types.optional_of(types.list_of(STRING))
    functions.method("validate", "format-validate", (FORMAT, STRING), result, _validate)


def _named(name: str) -> Optional:
    return Optional(NamedFormat(name)) if name in _FORMATS else NONE


def _validate(named: NamedFormat, text: str) -> Optional:
    faults = _FORMATS[named.name](text)
    return Optional(faults) if faults else NONE


def _limited(pattern: re.Pattern[str], limit: int, what: str, *, prefix: bool = False) -> Callable[[str], list[str]]:
    def check(text: str) -> list[str]:
        value = text.removesuffix("-") if prefix else text
        faults = [f"must be no more than {limit} characters"] if len(text) > limit else []
        if not pattern.fullmatch(value):
            faults.append(f"{what} (regex used for validation is '{pattern.pattern}')")
        return faults

    return check


def _qualified(text: str) -> list[str]:
    prefix, slash, name = text.rpartition("/")
    faults = []
    if slash and (not prefix or len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix)):
        faults.append("prefix part must be a lowercase RFC 1123 subdomain")
    if not name:
        faults.append("name part must be non-empty")
    elif len(name) > 63:
        faults.append("name part must be no more than 63 characters")
    if not _NAME_PART.fullmatch(name):
        faults.append(f"name part {_NAME_RULE} (regex used for validation is '{_NAME_PART.pattern}')")
    return faults


def _label_value(text: str) -> list[str]:
    if not text:
        return []
    return _limited(_NAME_PART, 63, "a valid label must be an empty string or consist of alphanumeric characters, '-', "
                    "'_' or '.', and must start and end with an alphanumeric character")(text)  # fmt: skip


def _parses(parse: Callable[[str], object], fault: str) -> Callable[[str], list[str]]:
    def check(text: str) -> list[str]:
        try:
            parse(text)
        except (ValueError, binascii.Error):
            return [fault]
        return []

    return check


def _uri(text: str) -> object:
    if not text or (not urlsplit(text).scheme and not text.startswith("/")):
        raise ValueError(text)
    return None


_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character"
)
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character"
)
_LABEL_1035_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character"
)
_FORMATS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": _limited(_LABEL, 63, _LABEL_RULE),
    "dns1123Subdomain": _limited(_SUBDOMAIN, 253, _SUBDOMAIN_RULE),
    "dns1035Label": _limited(_LABEL_1035, 63, _LABEL_1035_RULE),
    "dns1123LabelPrefix": _limited(_LABEL, 63, _LABEL_RULE, prefix=True),
    "dns1123SubdomainPrefix": _limited(_SUBDOMAIN, 253, _SUBDOMAIN_RULE, prefix=True),
    "dns1035LabelPrefix": _limited(_LABEL_1035, 63, _LABEL_1035_RULE, prefix=True),
    "qualifiedName": _qualified,
    "labelValue": _label_value,
    "uri": _parses(_uri, "invalid URI"),
    "uuid": _parses(uuid.UUID, "does not match the UUID format"),
    "byte": _parses(lambda text: base64.b64decode(text, validate=True), "invalid base64"),
    "date": _parses(date, "invalid date"),
    "datetime": _parses(timestamp, "invalid datetime"),
}
