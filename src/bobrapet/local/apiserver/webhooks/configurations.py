"""MutatingWebhookConfiguration and ValidatingWebhookConfiguration: as objects, and as the webhooks to call."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bobrapet.local.apiserver import selectors
from bobrapet.local.apiserver.cel import CelError
from bobrapet.local.apiserver.cel.program import Program
from bobrapet.local.apiserver.cel.types import BOOL, DYN
from bobrapet.local.apiserver.errors import FieldError
from bobrapet.local.apiserver.metadata import quote, subdomain_errors
from bobrapet.local.apiserver.strategy import Strategy
from bobrapet.local.apiserver.types import Object

MUTATING = "mutatingwebhookconfigurations.admissionregistration.k8s.io"
VALIDATING = "validatingwebhookconfigurations.admissionregistration.k8s.io"

CONDITION_VARIABLES = {"object": DYN, "oldObject": DYN, "request": DYN}
"""What a `matchConditions` expression sees."""

_REQUIRED = "FieldValueRequired"
_UNSUPPORTED = "FieldValueNotSupported"
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_MAX_CONDITIONS = 64


class HookStrategy(Strategy):
    """MutatingWebhookConfiguration and ValidatingWebhookConfiguration."""

    has_generation = True

    def default(self, obj: Object) -> None:
        """Fail closed, match everything, ten seconds."""
        for hook in obj.get("webhooks") or []:
            hook.setdefault("failurePolicy", "Fail")
            hook.setdefault("matchPolicy", "Equivalent")
            hook.setdefault("namespaceSelector", {})
            hook.setdefault("objectSelector", {})
            hook.setdefault("timeoutSeconds", 10)
            if obj["kind"].startswith("Mutating"):
                hook.setdefault("reinvocationPolicy", "Never")
            if "service" in (hook.get("clientConfig") or {}):
                hook["clientConfig"]["service"].setdefault("port", 443)
            for rule in hook.get("rules") or []:
                rule.setdefault("scope", "*")

    def desired(self, obj: Object) -> object:
        """All webhooks."""
        return obj.get("webhooks")

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """A webhook that could never be called would keep everybody from writing."""
        faults: list[FieldError] = []
        names: set[str] = set()
        for position, hook in enumerate(obj.get("webhooks") or []):
            path = f"webhooks[{position}]"
            name = hook.get("name", "")
            if name in names:
                faults.append(FieldError(f"{path}.name", f"Duplicate value: {quote(name)}", "FieldValueDuplicate"))
            names.add(name)
            faults += _hook_errors(hook, path)
        return faults


def _hook_errors(hook: Object, path: str) -> list[FieldError]:
    faults = _name_errors(hook.get("name", ""), f"{path}.name")
    for number, rule in enumerate(hook.get("rules") or []):
        faults += _rule_errors(rule, f"{path}.rules[{number}]")
    faults += _one_of(hook.get("failurePolicy"), ("Fail", "Ignore"), f"{path}.failurePolicy")
    faults += _one_of(hook.get("matchPolicy"), ("Equivalent", "Exact"), f"{path}.matchPolicy")
    if "reinvocationPolicy" in hook:
        faults += _one_of(hook["reinvocationPolicy"], ("IfNeeded", "Never"), f"{path}.reinvocationPolicy")
    effects = hook.get("sideEffects")
    if effects is None:
        text = "Required value: must specify one of None, NoneOnDryRun"
        faults.append(FieldError(f"{path}.sideEffects", text, _REQUIRED))
    else:
        faults += _one_of(effects, ("None", "NoneOnDryRun"), f"{path}.sideEffects")
    if not 1 <= (seconds := hook.get("timeoutSeconds", 10)) <= 30:
        text = f"Invalid value: {seconds}: the timeout value must be between 1 and 30 seconds"
        faults.append(FieldError(f"{path}.timeoutSeconds", text))
    if not hook.get("admissionReviewVersions"):
        text = "Required value: must specify one of v1, v1beta1"
        faults.append(FieldError(f"{path}.admissionReviewVersions", text, _REQUIRED))
    elif not {"v1", "v1beta1"} & set(hook["admissionReviewVersions"]):
        shown = "[" + ",".join(map(quote, hook["admissionReviewVersions"])) + "]"
        text = f"Invalid value: {shown}: must include at least one of v1, v1beta1"
        faults.append(FieldError(f"{path}.admissionReviewVersions", text))
    faults += _client_errors(hook.get("clientConfig") or {}, f"{path}.clientConfig")
    return faults + _condition_errors(hook.get("matchConditions") or [], f"{path}.matchConditions")


def _name_errors(name: str, path: str) -> list[FieldError]:
    if not name:
        return [FieldError(path, "Required value", _REQUIRED)]
    if problems := subdomain_errors(name):
        return [FieldError(path, f"Invalid value: {quote(name)}: {problem}") for problem in problems]
    if name.count(".") < 2:
        why = "should be a domain with at least three segments separated by dots"
        return [FieldError(path, f"Invalid value: {quote(name)}: {why}")]
    return []


def _rule_errors(rule: Object, path: str) -> list[FieldError]:
    faults = []
    for name in ("apiGroups", "apiVersions", "resources"):
        values = rule.get(name) or []
        if not values:
            faults.append(FieldError(f"{path}.{name}", "Required value", _REQUIRED))
        elif "*" in values and len(values) > 1 and name != "resources":
            shown = "[" + ",".join(map(quote, values)) + "]"
            text = f"Invalid value: {shown}: if '*' is present, must not specify other "
            faults.append(
                FieldError(f"{path}.{name}", text + ("API groups" if name == "apiGroups" else "API versions"))
            )
    if not rule.get("operations"):
        faults.append(FieldError(f"{path}.operations", "Required value", _REQUIRED))
    for number, operation in enumerate(rule.get("operations") or []):
        faults += _one_of(operation, _OPERATIONS, f"{path}.operations[{number}]")
    return faults + _one_of(rule.get("scope", "*"), _SCOPES, f"{path}.scope")


def _one_of(value: Any, supported: Sequence[str], path: str) -> list[FieldError]:
    if value in supported:
        return []
    shown = ", ".join(map(quote, supported))
    return [FieldError(path, f"Unsupported value: {quote(str(value))}: supported values: {shown}", _UNSUPPORTED)]


def _client_errors(client: Object, path: str) -> list[FieldError]:
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        return [FieldError(path, "Required value: exactly one of url or service is required", _REQUIRED)]
    faults = []
    if url is not None:
        parts = urlsplit(url)
        if parts.scheme != "https":
            found = quote(parts.scheme)
            why = f"'https' is the only allowed URL scheme; desired format: https://host[/path]; got {found}"
            faults.append(FieldError(f"{path}.url", f"Invalid value: {found}: {why}"))
        if not parts.hostname:
            why = "host must be specified; desired format: https://host[/path]"
            faults.append(FieldError(f"{path}.url", f'Invalid value: "": {why}'))
    else:
        assert service is not None
        faults += [
            FieldError(f"{path}.service.{name}", f"Required value: service {name} is required", _REQUIRED)
            for name in ("name", "namespace")
            if not service.get(name)
        ]
    return faults


def _condition_errors(conditions: list[Object], path: str) -> list[FieldError]:
    faults = []
    if len(conditions) > _MAX_CONDITIONS:
        text = f"Too many: {len(conditions)}: must have at most {_MAX_CONDITIONS} items"
        faults.append(FieldError(path, text, "FieldValueTooMany"))
    for number, condition in enumerate(conditions):
        at, expression = f"{path}[{number}].expression", condition.get("expression") or ""
        if not condition.get("name"):
            faults.append(FieldError(f"{path}[{number}].name", "Required value", _REQUIRED))
        if not expression.strip():
            faults.append(FieldError(at, "Required value", _REQUIRED))
            continue
        try:
            program = Program(expression, CONDITION_VARIABLES)
        except CelError as error:
            faults.append(FieldError(at, f"Invalid value: {quote(expression)}: compilation failed: {error}"))
            continue
        if program.type not in (BOOL, DYN):
            faults.append(FieldError(at, f"Invalid value: {quote(expression)}: must evaluate to bool"))
    return faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One webhook, ready to be matched and called."""

    configuration: str
    name: str
    client: Mapping[str, Any]
    ca_bundle: str
    rules: tuple[Mapping[str, Any], ...]
    fails: bool
    """Whether a webhook that cannot be asked refuses."""

    equivalent: bool
    reinvoked: bool
    dry_run: bool
    """Whether it may be asked in a dry run."""

    timeout: int
    version: str
    namespaces: selectors.Match | None
    objects: selectors.Match | None
    conditions: tuple[tuple[str, Program], ...]


def hooks(configuration: Object) -> list[Hook]:
    """The webhooks of an accepted configuration."""
    return [_hook(configuration["metadata"]["name"], given) for given in configuration.get("webhooks") or []]


def _hook(configuration: str, given: Object) -> Hook:
    client = given["clientConfig"]
    return Hook(
        configuration=configuration,
        name=given["name"],
        client=client,
        ca_bundle=_pem(client.get("caBundle") or ""),
        rules=tuple(given.get("rules") or ()),
        fails=given["failurePolicy"] == "Fail",
        equivalent=given["matchPolicy"] == "Equivalent",
        reinvoked=given.get("reinvocationPolicy") == "IfNeeded",
        dry_run=given["sideEffects"] in ("None", "NoneOnDryRun"),
        timeout=given["timeoutSeconds"],
        version=next(name for name in given["admissionReviewVersions"] if name in ("v1", "v1beta1")),
        namespaces=selectors.from_label_selector(given.get("namespaceSelector")),
        objects=selectors.from_label_selector(given.get("objectSelector")),
        conditions=tuple(
            (condition["name"], Program(condition["expression"], CONDITION_VARIABLES))
            for condition in given.get("matchConditions") or ()
        ),
    )


def _pem(bundle: str) -> str:
    try:
        return base64.b64decode(bundle).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
