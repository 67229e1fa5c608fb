"""Slash-separated paths (Go: package path; on Linux the os variants are the same)."""

from __future__ import annotations

from bobrapet.expressions.function import Library

PATHS = Library()


@PATHS.add("base osBase", "s")
def base(path: str) -> str:
    if not path:
        return "."
    return path.rstrip("/").rpartition("/")[2] or "/"


@PATHS.add("dir osDir", "s")
def dir_(path: str) -> str:
    head, slash, _ = path.rpartition("/")
    return clean(head + slash)


@PATHS.add("clean osClean", "s")
def clean(path: str) -> str:
    """The shortest equivalent path: no doubled slashes, no `.`, no `..` that can be resolved."""
    rooted = path.startswith("/")
    kept: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            kept.append(part)
        elif kept and kept[-1] != "..":
            kept.pop()
        elif not rooted:
            kept.append("..")
    return "/" + "/".join(kept) if rooted else "/".join(kept) or "."


@PATHS.add("ext osExt", "s")
def ext(path: str) -> str:
    _, dot, suffix = path.rpartition("/")[2].rpartition(".")
    return dot + suffix if dot else ""


@PATHS.add("isAbs osIsAbs", "s")
def is_abs(path: str) -> bool:
    return path.startswith("/")
