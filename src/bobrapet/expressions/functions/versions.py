"""Sprig's semantic versions."""

from __future__ import annotations

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.function import Library
from bobrapet.expressions.semver import BadVersion, Version, parse_version, satisfies

VERSIONS = Library()


@VERSIONS.add("semver", "s")
def semver(text: str) -> Version:
    try:
        return parse_version(text)
    except BadVersion as problem:
        raise FunctionError(str(problem)) from None


@VERSIONS.add("semverCompare", "ss")
def semver_compare(constraint: str, version: str) -> bool:
    try:
        return satisfies(constraint, version)
    except BadVersion as problem:
        raise FunctionError(str(problem)) from None
