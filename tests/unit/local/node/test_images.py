from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from bobrapet.local.node.errors import ImageNotProvided, InvalidImageCommand
from bobrapet.local.node.images import ENTRY_POINT_GROUP, ImageResolver, parse_override, spellings


def announced(image: str, value: str) -> EntryPoint:
    return EntryPoint(image, value, ENTRY_POINT_GROUP)


def resolver(*entries: EntryPoint, **overrides: tuple[str, ...]) -> ImageResolver:
    return ImageResolver(overrides, lambda: entries)


def some_command() -> list[str]:
    return ["python", "-m", "tool"]


def no_command() -> str:
    return "python -m tool"


@pytest.mark.parametrize(
    ("text", "image", "command"),
    [
        ("a/b=python -m x", "a/b", ("python", "-m", "x")),
        ("r:5000/a/b:1.2='my tool' --flag=1", "r:5000/a/b:1.2", ("my tool", "--flag=1")),
        ("busybox=", "busybox", ()),
    ],
)
def test_an_override_is_split_at_the_first_equals_sign_and_then_like_a_shell(
    text: str, image: str, command: tuple[str, ...]
) -> None:
    assert parse_override(text) == (image, command)


@pytest.mark.parametrize("text", ["image", "=command", "image='unclosed"])
def test_an_override_that_names_no_image_or_no_command_is_refused_with_the_form_expected(text: str) -> None:
    with pytest.raises(InvalidImageCommand, match="--image"):
        parse_override(text)


def test_an_image_is_found_with_and_without_tag_and_digest_but_a_registry_port_is_no_tag() -> None:
    assert list(spellings("r:5000/a/b:1@sha256:00")) == ["r:5000/a/b:1@sha256:00", "r:5000/a/b:1", "r:5000/a/b"]
    assert list(spellings("r:5000/a/b")) == ["r:5000/a/b"]


def test_an_override_with_tag_wins_over_one_without_and_both_over_what_packages_announce() -> None:
    entry = announced("a/b", f"{__name__}:some_command")
    images = ImageResolver({"a/b:2": ["two"], "a/b": ["any"]}, lambda: [entry])
    assert images.resolve("a/b:2") == ("two",)
    assert images.resolve("a/b:1") == ("any",)
    assert ImageResolver({}, lambda: [entry]).resolve("a/b:1@sha256:0") == ("python", "-m", "tool")


def test_an_unknown_image_is_refused_with_the_flag_and_the_entry_point_group() -> None:
    with pytest.raises(ImageNotProvided, match=r"--image a/b:1=COMMAND.*bobrapet\.images"):
        resolver().resolve("a/b:1")


@pytest.mark.parametrize("value", [f"{__name__}:no_command", f"{__name__}:absent", "no.such.module:argv"])
def test_an_entry_point_that_cannot_be_used_is_named(value: str) -> None:
    with pytest.raises(InvalidImageCommand, match=value):
        resolver(announced("a/b", value)).resolve("a/b")
