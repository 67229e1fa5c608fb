"""Semantic versions and constraints in the dialect of Masterminds/semver, which Sprig uses."""

from __future__ import annotations

import re
from functools import lru_cache

from bobrapet.expressions.function import Function
from bobrapet.expressions.values import Opaque, Uint64

_MAX = 2**64 - 1
_EXTRA = r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
_VERSION = re.compile(rf"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?{_EXTRA}", re.ASCII)
_NUMBER = r"[0-9|x|X|*]+"  # the published expression has | in its class, so 1|2 passes there and fails later
_PARTIAL = rf"v?({_NUMBER})(?:\.({_NUMBER}))?(?:\.({_NUMBER}))?{_EXTRA}"
_TERM = re.compile(rf"(!=|>=|=>|<=|=<|~>|=|>|<|~|\^|)\s*{_PARTIAL}", re.ASCII)
_RANGE = re.compile(rf"\s*({_PARTIAL})\s+-\s+({_PARTIAL})\s*", re.ASCII)


class BadVersion(ValueError):
    """A text that is no version, or no constraint."""


_METHODS: dict[str, Function] = {}


class Version(Opaque):
    """A semantic version; prints without the leading `v`."""

    __slots__ = ("major", "metadata", "minor", "original", "patch", "prerelease")
    go_type = "*semver.Version"
    go_kind = "ptr"
    members = _METHODS

    def __init__(self, major: int, minor: int, patch: int, prerelease: str, metadata: str, original: str) -> None:
        self.major = major
        self.minor = minor
        self.patch = patch
        self.prerelease = prerelease
        self.metadata = metadata
        self.original = original

    def __str__(self) -> str:
        prerelease = f"-{self.prerelease}" if self.prerelease else ""
        metadata = f"+{self.metadata}" if self.metadata else ""
        return f"{self.major}.{self.minor}.{self.patch}{prerelease}{metadata}"

    @property
    def numbers(self) -> tuple[int, int, int]:
        return self.major, self.minor, self.patch

    def compare(self, other: Version) -> int:
        """-1, 0 or 1; metadata does not count."""
        if self.numbers != other.numbers:
            return 1 if self.numbers > other.numbers else -1
        if self.prerelease == other.prerelease:
            return 0
        if not self.prerelease or not other.prerelease:
            return -1 if self.prerelease else 1
        return _compare_prereleases(self.prerelease, other.prerelease)


def _compare_prereleases(left: str, right: str) -> int:
    first, second = left.split("."), right.split(".")
    for position in range(max(len(first), len(second))):
        a = first[position] if position < len(first) else ""
        b = second[position] if position < len(second) else ""
        if a != b:
            return _compare_parts(a, b)
    return 0


def _compare_parts(left: str, right: str) -> int:
    """Numbers come before words, and a missing part before everything."""
    if not left or not right:
        return -1 if not left else 1
    left_number, right_number = _number(left), _number(right)
    if left_number is not None and right_number is not None:
        return 1 if left_number > right_number else -1
    if left_number is None and right_number is None:
        return 1 if left > right else -1
    return 1 if left_number is None else -1


def _number(part: str) -> int | None:
    if not part.isdigit() or len(part) > 4000:
        return None
    value = int(part)
    return value if value <= _MAX else None


def parse_version(text: str) -> Version:
    """Reads a version; missing minor and patch count as 0. Raises BadVersion."""
    match = _VERSION.fullmatch(text)
    if match is None:
        raise BadVersion(f"“{text[:40]}” is not a semantic version")
    numbers = []
    for digits in match.group(1, 2, 3):
        number = _number(digits) if digits else 0
        if number is None:
            raise BadVersion(f"“{text[:40]}” has a number that is too large")
        numbers.append(number)
    prerelease, metadata = match.group(4) or "", match.group(5) or ""
    for part in prerelease.split("."):
        if part.isdigit() and len(part) > 1 and part[0] == "0":
            raise BadVersion(f"“{text[:40]}”: a number in the prerelease starts with 0")
    major, minor, patch = numbers
    return Version(major, minor, patch, prerelease, metadata, text)


class _Term:
    """One comparison: `~1.2`. A dirty term leaves out minor or patch, or has an x there."""

    __slots__ = ("dirty", "minor_dirty", "operator", "patch_dirty", "version")

    def __init__(self, text: str) -> None:
        match = _TERM.fullmatch(text.strip())
        if match is None:
            raise BadVersion(f"improper constraint: “{text[:40]}”")
        operator, major, minor, patch, prerelease, _ = match.groups()
        self.operator = {"": "=", "=>": ">=", "=<": "<=", "~>": "~"}.get(operator, operator)
        if operator == "":
            self.operator = "="
        suffix = f"-{prerelease}" if prerelease else ""
        any_major = major in ("x", "X", "*")
        self.minor_dirty = not any_major and minor in (None, "x", "X", "*")
        self.patch_dirty = not any_major and not self.minor_dirty and patch in (None, "x", "X", "*")
        self.dirty = any_major or self.minor_dirty or self.patch_dirty
        if any_major:
            full = f"0.0.0{suffix}"
        elif self.minor_dirty:
            full = f"{major}.0.0{suffix}"
        elif self.patch_dirty:
            full = f"{major}.{minor}.0{suffix}"
        else:
            full = f"{major}.{minor}.{patch}{suffix}"
        self.version = parse_version(full)

    def accepts(self, version: Version) -> bool:
        if self.operator != "!=" and version.prerelease and not self.version.prerelease:
            # Constraints without a prerelease are about releases only.
            return False
        match self.operator:
            case "=":
                return self._tilde(version) if self.dirty else version.compare(self.version) == 0
            case "!=":
                return self._differs(version)
            case ">":
                return self._greater(version)
            case "<":
                return version.compare(self.version) < 0
            case ">=":
                return version.compare(self.version) >= 0
            case "<=":
                return self._at_most(version)
            case "~":
                return self._tilde(version)
            case _:
                return self._caret(version)

    def _differs(self, version: Version) -> bool:
        wanted = self.version
        if not self.dirty:
            return version.compare(wanted) != 0
        if version.prerelease and not wanted.prerelease:
            return False
        if wanted.major != version.major:
            return True
        if self.minor_dirty:
            return False
        if wanted.minor != version.minor:
            return True
        if self.patch_dirty:
            return bool(version.prerelease or wanted.prerelease) and (
                _compare_prereleases(version.prerelease, wanted.prerelease) != 0
            )
        return wanted.patch != version.patch or version.compare(wanted) != 0

    def _greater(self, version: Version) -> bool:
        wanted = self.version
        if not self.dirty:
            return version.compare(wanted) > 0
        if version.major != wanted.major:
            return version.major > wanted.major
        if self.minor_dirty:
            return False
        if self.patch_dirty:
            return version.minor > wanted.minor
        return version.compare(wanted) > 0

    def _at_most(self, version: Version) -> bool:
        wanted = self.version
        if not self.dirty:
            return version.compare(wanted) <= 0
        if version.major > wanted.major:
            return False
        return version.major != wanted.major or version.minor <= wanted.minor or self.minor_dirty

    def _tilde(self, version: Version) -> bool:
        wanted = self.version
        if version.compare(wanted) < 0:
            return False
        if wanted.numbers == (0, 0, 0) and not self.minor_dirty and not self.patch_dirty:
            return True
        return version.major == wanted.major and (self.minor_dirty or version.minor == wanted.minor)

    def _caret(self, version: Version) -> bool:
        wanted = self.version
        if version.compare(wanted) < 0:
            return False
        if wanted.major > 0 or self.minor_dirty:
            return version.major == wanted.major
        if version.major > 0:
            return False
        if wanted.minor > 0 or self.patch_dirty:
            return version.minor == wanted.minor
        return version.minor == 0 and version.patch == wanted.patch


@lru_cache(256)
def parse_constraint(text: str) -> tuple[tuple[_Term, ...], ...]:
    """Reads a constraint: alternatives (`||`) of terms that must all hold. Raises BadVersion."""
    for match in list(_RANGE.finditer(text)):
        low, high = match.group(1), match.group(7)
        text = text.replace(match.group(), f">= {low}, <= {high} ", 1)
    return tuple(_terms(alternative) for alternative in text.split("||"))


def _terms(text: str) -> tuple[_Term, ...]:
    """Splits `>=1.2, <2 !=1.5`: terms are separated by white space or commas."""
    position, end = 0, len(text)
    terms: list[_Term] = []
    separator = re.compile(r"\s*,\s*|\s+", re.ASCII)
    space = re.compile(r"\s*", re.ASCII)
    start = space.match(text)
    position = start.end() if start else 0
    while True:
        match = _TERM.match(text, position)
        if match is None:
            raise BadVersion(f"improper constraint: “{text[:40]}”")
        terms.append(_Term(match.group()))
        position = match.end()
        gap = separator.match(text, position)
        if gap is None:
            if position == end:
                return tuple(terms)
            raise BadVersion(f"improper constraint: “{text[:40]}”")
        position = gap.end()
        if position == end and "," not in gap.group():
            return tuple(terms)


def satisfies(constraint: str, version: str) -> bool:
    """Whether a version meets a constraint. Raises BadVersion."""
    alternatives = parse_constraint(constraint)
    parsed = parse_version(version)
    return any(all(term.accepts(parsed) for term in terms) for terms in alternatives)


for _name, _read in (
    ("Major", lambda version: Uint64(version.major)),
    ("Minor", lambda version: Uint64(version.minor)),
    ("Patch", lambda version: Uint64(version.patch)),
    ("Prerelease", lambda version: version.prerelease),
    ("Metadata", lambda version: version.metadata),
    ("Original", lambda version: version.original),
    ("String", str),
):
    _METHODS[_name] = Function(_name, "", _read, False)
