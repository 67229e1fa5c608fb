"""controller-runtime in Python: informers, work queues, controllers, a client.

The public names stand here and are loaded when first used, so that importing this package costs nothing. For type
checkers and editors they stand in `__init__.pyi` too; a test keeps the two equal.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NAMES: dict[str, tuple[str, ...]] = {
    "builder": ("controller_managed_by as new_controller_managed_by",),
    "client.apiutil": ("DynamicRESTMapper", "RESTMapping", "StaticRESTMapper"),
    "client.client": ("ApiClient", "CacheOptions"),
    "client.config": ("get_config", "load_in_cluster", "load_kubeconfig"),
    "client.interfaces": ("Client", "Reader", "Writer", "get_or_none", "ignore_already_exists", "ignore_not_found"),
    "client.object": ("ObjectKey", "ObjectList", "OwnerReference", "PartialObjectMetadata", "Unstructured"),
    "client.options": ("Preconditions",),
    "client.patch": ("ApplyConfiguration", "json_patch", "merge_from", "raw_patch", "strategic_merge_from"),
    "controller.controllerutil": (
        "OperationResult",
        "add_finalizer",
        "contains_finalizer",
        "create_or_patch",
        "create_or_update",
        "remove_finalizer",
        "set_controller_reference",
        "set_owner_reference",
    ),
    "errors": ("ApiError", "ControllerRuntimeError", "TransportError"),
    "finalizer": ("Finalizers",),
    "manager": (
        "ControllerManager as Manager",
        "Options as ManagerOptions",
        "new as new_manager",
        "setup_signal_handler",
    ),
    "reconcile": ("Reconciler", "Request", "Result", "TerminalError", "as_reconciler"),
    "rest.client": ("RestClient",),
    "rest.config": ("RestConfig",),
    "retry": ("retry_on_conflict",),
    "scheme": ("GroupKind", "GroupVersionKind", "Scheme"),
}
"""What each module gives, some of it under a name that says whose it is."""

_WHERE = {
    entry.rpartition(" as ")[2]: (module, entry.partition(" as ")[0])
    for module, entries in _NAMES.items()
    for entry in entries
}

__all__ = sorted(_WHERE)  # noqa: PLE0605 - computed, so that each name stands once


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name]
    value = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
