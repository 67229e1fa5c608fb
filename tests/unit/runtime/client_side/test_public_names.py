"""The names that `bobrapet.runtime` offers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import bobrapet.runtime


@pytest.mark.parametrize("name", bobrapet.runtime.__all__)
def test_every_name_can_be_had(name: str) -> None:
    assert getattr(bobrapet.runtime, name) is not None
    assert name in dir(bobrapet.runtime)


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    stub = ast.parse(Path(bobrapet.runtime.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    shown = {
        alias.asname or alias.name: (str(node.module).removeprefix("bobrapet.runtime."), alias.name)
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert shown == bobrapet.runtime._WHERE


def test_other_names_are_an_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_this"):
        bobrapet.runtime.nothing_like_this
