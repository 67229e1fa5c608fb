"""Owner references, finalizers, create-or-update."""

from bobrapet.runtime.controller.controllerutil.controllerutil import OperationResult, create_or_patch, create_or_update
from bobrapet.runtime.controller.controllerutil.equality import semantic_equal
from bobrapet.runtime.controller.controllerutil.finalizers import add_finalizer, contains_finalizer, remove_finalizer
from bobrapet.runtime.controller.controllerutil.owners import (
    AlreadyOwned,
    InvalidOwner,
    NotOwned,
    has_controller_reference,
    has_owner_reference,
    remove_controller_reference,
    remove_owner_reference,
    set_controller_reference,
    set_owner_reference,
)

__all__ = [
    "AlreadyOwned",
    "InvalidOwner",
    "NotOwned",
    "OperationResult",
    "add_finalizer",
    "contains_finalizer",
    "create_or_patch",
    "create_or_update",
    "has_controller_reference",
    "has_owner_reference",
    "remove_controller_reference",
    "remove_finalizer",
    "remove_owner_reference",
    "semantic_equal",
    "set_controller_reference",
    "set_owner_reference",
]
