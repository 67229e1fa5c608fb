"""What an object is called: its kind, its resource, its scope."""

from bobrapet.runtime.client.apiutil.apimachinery import gvk_for_class, gvk_for_object
from bobrapet.runtime.client.apiutil.restmapper import DynamicRESTMapper, RESTMapper, RESTMapping, StaticRESTMapper

__all__ = ["DynamicRESTMapper", "RESTMapper", "RESTMapping", "StaticRESTMapper", "gvk_for_class", "gvk_for_object"]
