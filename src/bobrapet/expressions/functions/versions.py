"""Sprig's semantic versions."""

from __future__ import annotations

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.function import Library
from bobrapet.expressions.semver import BadVersion, Version, parse_version, satisfies

VERSIONS = Library()

LONGEST_TEXT = 1024
"""Characters of a version or a constraint; nothing sensible comes near it."""


def _short(text: str) -> str:
    if len(text) > LONGEST_TEXT:
        raise FunctionError(f"a version of {len(text)} characters is too long (at most {LONGEST_TEXT})")
    return text


@VERSIONS.add("semver", "s")
def semver(text: str) -> Version:
    try:
        return parse_version(_short(text))
    except BadVersion as problem:
        raise FunctionError(str(problem)) from None


@VERSIONS.add("semverCompare", "ss")
def semver_compare(constraint: str, version: str) -> bool:
    try:
        return satisfies(_short(constraint), _short(version))
    except BadVersion as problem:
        raise FunctionError(str(problem)) from None
