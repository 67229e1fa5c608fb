"""Names and hashes that several programs derive on their own, so bit for bit alike (spec runs 1.6, api 8.6)."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any, Final

MAX_LABEL: Final = 63
MAX_NAME: Final = 253
MAX_IDEMPOTENCY_KEY: Final = 256

_OTHER: Final = re.compile("[^a-z0-9]+")


def segment(text: str) -> str:
    """`text` as a part of a name: lower case, every run of other characters one dash, no dash at the ends."""
    return _OTHER.sub("-", text.strip().lower()).strip("-")


def compose(*parts: str) -> str:
    """Joins parts to a name of at most 63 characters; what does not fit is replaced by a hash over all parts."""
    name = "-".join(filter(None, map(segment, parts))) or "resource"
    if len(name) <= MAX_LABEL:
        return name
    return f"{_without_dash(name[:50])}-{_sha256_of_parts(parts)}"


def compose_suffix(base: str, suffix: str) -> str:
    """Joins base and suffix to at most 63 characters; the suffix always stays readable."""
    base, suffix = segment(base), segment(suffix)
    name = f"{base}-{suffix}"
    if len(name) <= MAX_LABEL:
        return name
    kept = _without_dash(base[: MAX_LABEL - len(suffix) - 14])
    return f"{kept}-{_sha256_of_parts((base, suffix))}-{suffix}"


def label(value: str) -> str:
    """`value` as a label value: a segment of at most 63 characters."""
    safe = segment(value) or "resource"
    if len(safe) <= MAX_LABEL:
        return safe
    return f"{safe[:52].strip('-_.')}-{hashlib.sha256(safe.encode()).hexdigest()[:10]}"


def short(seed: str) -> str:
    """The first 16 hexadecimal digits of the SHA-1 of `seed`. Not for security: it keeps names apart."""
    return hashlib.sha1(seed.encode(), usedforsecurity=False).hexdigest()[:16]


def storyrun_name(namespace: str, story: str, token: str) -> str:
    """Name of the StoryRun of a trigger token. `namespace` is the Story's."""
    digest = short(f"{namespace}/{story}/{token}")
    part = segment(token)
    if not part:
        part = digest
    elif part != token or namespace:
        part = f"{part}-{digest}"
    name = f"{story}-{part}"
    if len(name) <= MAX_NAME:
        return name
    return f"{story[: MAX_NAME - 17].rstrip('-') or 's'}-{digest}"


def storytrigger_name(namespace: str, story: str, key: str, submission_id: str) -> str:
    """Name of the StoryTrigger of a delivery: by its key, without one by its submission id."""
    return _hashed(story, "-trigger-", short(f"{namespace}/{story}/{key or submission_id}"))


def effectclaim_name(namespace: str, steprun: str, effect_key: str) -> str:
    """Name of the EffectClaim of an effect; empty without a key."""
    if not effect_key:
        return ""
    return _hashed(steprun, "-effect-", short(f"{namespace}/{steprun}/{effect_key}"))


def _hashed(leading: str, infix: str, digest: str) -> str:
    name = f"{leading}{infix}{digest}"
    if len(name) <= MAX_NAME:
        return name
    return f"{leading[: MAX_NAME - len(infix) - len(digest)].rstrip('-') or 's'}{infix}{digest}"


def idempotency_key(namespace: str, storyrun: str, step: str) -> str:
    """The key under which all attempts of a step are one; at most 256 characters."""
    key = f"storyrun/{storyrun}/step/{step}"
    if namespace:
        key = f"ns/{namespace}/{key}"
    if len(key) <= MAX_IDEMPOTENCY_KEY:
        return key
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def input_hash(inputs: Any) -> str:
    """SHA-256, in hexadecimal, of the canonical JSON of a run's inputs; no inputs count as `{}`."""
    return hashlib.sha256(canonical_json(inputs or {}).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON as Go's encoder writes it after decoding: sorted keys, no spaces, every number a 64-bit float.

    Raises:
        ValueError: a number that JSON or a 64-bit float cannot hold.
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value)
        case int() | float():
            return _number(value)
        case dict():
            # Byte order of UTF-8 is code point order, which is how Python compares strings.
            members = (f"{_string(key)}:{canonical_json(value[key])}" for key in sorted(value))
            return "{" + ",".join(members) + "}"
        case list() | tuple():
            return "[" + ",".join(map(canonical_json, value)) + "]"
        case _:
            raise ValueError(f"a {type(value).__name__} has no JSON form")


_ESCAPES: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_ESCAPED: Final = re.compile("[<>&\u2028\u2029]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _string(text: str) -> str:
    # The decoder that Go reads with turns a lone surrogate into the replacement character.
    text = _SURROGATE.sub("\ufffd", text)
    return _ESCAPED.sub(lambda match: _ESCAPES[match[0]], json.dumps(text, ensure_ascii=False))


def _number(number: float) -> str:
    try:
        value = float(number)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"{str(number)[:64]} is no number of JSON")
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    digits, exponent = _shortest(abs(value))
    sign = "-" if value < 0 else ""
    if 1e-6 <= abs(value) < 1e21:
        return sign + _positional(digits, exponent)
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    # Go writes e-7 for e-07, and e+21 as it stands.
    return f"{sign}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent)}"


def _shortest(value: float) -> tuple[str, int]:
    """The fewest digits that read back as `value`, and the exponent of the first one."""
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    power = int(exponent or 0) + len(whole) - 1
    if whole == "0":
        power = int(exponent or 0) - (len(fraction) - len(fraction.lstrip("0"))) - 1
    return digits.rstrip("0") or "0", power


def _positional(digits: str, exponent: int) -> str:
    if exponent < 0:
        return "0." + "0" * (-exponent - 1) + digits
    if len(digits) <= exponent + 1:
        return digits + "0" * (exponent + 1 - len(digits))
    return f"{digits[: exponent + 1]}.{digits[exponent + 1 :]}"


def _sha256_of_parts(parts: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:12]


def _without_dash(text: str) -> str:
    return text.removesuffix("-")
