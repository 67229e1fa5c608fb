"""What can keep a container from running. Each carries the reason that the pod shows, in the words of a kubelet.

NodeError
├── ImageNotProvided       no command is known for the image (ErrImagePull)
├── InvalidImageCommand    --image or an entry point that cannot be used
├── ConfigInvalid          a reference of the environment that does not resolve (CreateContainerConfigError)
├── VolumeUnavailable      a volume that cannot be laid out (ContainerCreating, with a FailedMount event)
└── StartFailed            the command could not be executed (StartError, exit code 128)
"""

from __future__ import annotations

from typing import ClassVar


class NodeError(Exception):
    """Root of what the node raises; the message is shown to the user as it is."""

    reason: ClassVar[str] = "Error"


class ImageNotProvided(NodeError):
    """Nobody says what to execute for this image."""

    reason = "ErrImagePull"


class InvalidImageCommand(NodeError):
    """A flag or an entry point that should name a command does not."""

    reason = "ErrImagePull"


class ConfigInvalid(NodeError):
    """The environment of the container refers to something that is not there, or cannot be handed to a process."""

    reason = "CreateContainerConfigError"


class VolumeUnavailable(NodeError):
    """A volume of the pod cannot be provided (yet)."""

    reason = "ContainerCreating"


class StartFailed(NodeError):
    """The kernel refused to execute the command."""

    reason = "StartError"
