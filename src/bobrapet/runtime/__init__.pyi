from bobrapet.runtime.builder import controller_managed_by as new_controller_managed_by
from bobrapet.runtime.client.apiutil import DynamicRESTMapper, RESTMapping, StaticRESTMapper
from bobrapet.runtime.client.client import ApiClient, CacheOptions
from bobrapet.runtime.client.config import get_config, load_in_cluster, load_kubeconfig
from bobrapet.runtime.client.interfaces import (
    Client,
    Reader,
    Writer,
    get_or_none,
    ignore_already_exists,
    ignore_not_found,
)
from bobrapet.runtime.client.object import ObjectKey, ObjectList, OwnerReference, PartialObjectMetadata, Unstructured
from bobrapet.runtime.client.options import Preconditions
from bobrapet.runtime.client.patch import ApplyConfiguration, json_patch, merge_from, raw_patch, strategic_merge_from
from bobrapet.runtime.controller.controllerutil import (
    OperationResult,
    add_finalizer,
    contains_finalizer,
    create_or_patch,
    create_or_update,
    remove_finalizer,
    set_controller_reference,
    set_owner_reference,
)
from bobrapet.runtime.errors import ApiError, ControllerRuntimeError, TransportError
from bobrapet.runtime.finalizer import Finalizers
from bobrapet.runtime.manager import ControllerManager as Manager
from bobrapet.runtime.manager import Options as ManagerOptions
from bobrapet.runtime.manager import new as new_manager
from bobrapet.runtime.manager import setup_signal_handler
from bobrapet.runtime.reconcile import Reconciler, Request, Result, TerminalError, as_reconciler
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.retry import retry_on_conflict
from bobrapet.runtime.scheme import GroupKind, GroupVersionKind, Scheme

__all__ = [
    "ApiClient",
    "ApiError",
    "ApplyConfiguration",
    "CacheOptions",
    "Client",
    "ControllerRuntimeError",
    "DynamicRESTMapper",
    "Finalizers",
    "GroupKind",
    "GroupVersionKind",
    "Manager",
    "ManagerOptions",
    "ObjectKey",
    "ObjectList",
    "OperationResult",
    "OwnerReference",
    "PartialObjectMetadata",
    "Preconditions",
    "RESTMapping",
    "Reader",
    "Reconciler",
    "Request",
    "RestClient",
    "RestConfig",
    "Result",
    "Scheme",
    "StaticRESTMapper",
    "TerminalError",
    "TransportError",
    "Unstructured",
    "Writer",
    "add_finalizer",
    "as_reconciler",
    "contains_finalizer",
    "create_or_patch",
    "create_or_update",
    "get_config",
    "get_or_none",
    "ignore_already_exists",
    "ignore_not_found",
    "json_patch",
    "load_in_cluster",
    "load_kubeconfig",
    "merge_from",
    "new_controller_managed_by",
    "new_manager",
    "raw_patch",
    "remove_finalizer",
    "retry_on_conflict",
    "set_controller_reference",
    "set_owner_reference",
    "setup_signal_handler",
    "strategic_merge_from",
]
