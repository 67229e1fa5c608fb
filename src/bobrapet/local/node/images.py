"""What to execute for a container image on a machine that has no images.

An image is looked up among the overrides (`--image IMAGE=COMMAND`), then among what installed Python packages announce
through the entry-point group `bobrapet.images`. In both the longest form wins: the image as the pod names it, then
without digest, then without tag.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

from .errors import ImageNotProvided, InvalidImageCommand

ENTRY_POINT_GROUP = "bobrapet.images"


def parse_override(text: str) -> tuple[str, tuple[str, ...]]:
    """Splits the value of `--image`, `IMAGE=COMMAND`; the command is split like a shell does.

    An empty command says that the pod brings its own (`spec.containers[].command`). Raises InvalidImageCommand.
    """
    image, separator, command = text.partition("=")
    if not separator or not image.strip():
        raise InvalidImageCommand(f"--image {text!r}: expected IMAGE=COMMAND, for example my/tool='python tool.py'")
    try:
        return image.strip(), tuple(shlex.split(command))
    except ValueError as error:
        raise InvalidImageCommand(f"--image {text!r}: the command is no shell command line: {error}") from error


class ImageResolver:
    """Answers an image's command line. `provided` is the entry-point group unless a test says otherwise."""

    def __init__(
        self,
        overrides: Mapping[str, Sequence[str]] | None = None,
        provided: Callable[[], Iterable[EntryPoint]] | None = None,
    ) -> None:
        self._overrides = {image: tuple(command) for image, command in (overrides or {}).items()}
        self._installed = provided or (lambda: entry_points(group=ENTRY_POINT_GROUP))
        self._provided: dict[str, EntryPoint] | None = None

    def resolve(self, image: str) -> tuple[str, ...]:
        """The command line of the image's entry point; empty when an override leaves it to the pod.

        Raises ImageNotProvided, and InvalidImageCommand when an entry point does not keep its promise.
        """
        for name in spellings(image):
            if name in self._overrides:
                return self._overrides[name]
        if self._provided is None:
            # Read once: the packages of a running process do not change, and reading costs milliseconds.
            self._provided = {entry.name: entry for entry in self._installed()}
        for name in spellings(image):
            if name in self._provided:
                return _command(self._provided[name])
        raise ImageNotProvided(
            f'no command is known for image "{image}" on this machine: give one with --image {image}=COMMAND, '
            f"or install a Python package that announces the image in the entry-point group {ENTRY_POINT_GROUP}"
        )


def spellings(image: str) -> Iterator[str]:
    """The image as written, without digest, without tag: `r:5000/a/b:1@sha256:0`, `r:5000/a/b:1`, `r:5000/a/b`."""
    yield image
    undigested, _, digest = image.partition("@")
    if digest:
        yield undigested
    name, colon, tag = undigested.rpartition(":")
    if colon and "/" not in tag:  # a colon before a slash belongs to the registry's port
        yield name


def _command(entry: EntryPoint) -> tuple[str, ...]:
    announced = f'image "{entry.name}", entry point {entry.value!r} of group {ENTRY_POINT_GROUP}'
    try:
        command = entry.load()()
    except Exception as error:
        raise InvalidImageCommand(f"{announced}: {type(error).__name__}: {error}") from error
    if not isinstance(command, list | tuple) or not command or not all(isinstance(word, str) for word in command):
        raise InvalidImageCommand(f"{announced}: returned {command!r}, expected a command line as a list of strings")
    return tuple(command)
