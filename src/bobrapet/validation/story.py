"""Every check of a Story beyond its CRD (spec admission A3, A11; expressions 12).

The order of the findings is the order of the fields; all are listed. Admission, the Story controller and
`bobrapet run` share this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from bobrapet.api import Engram, EngramTemplate, Story, Transport
from bobrapet.api.enums import StepType, WorkloadMode
from bobrapet.api.execution import ExecutionOverrides
from bobrapet.api.references import EngramReference
from bobrapet.api.story import Step, StoryPolicy, StorySpec
from bobrapet.config.tls import tls_secret
from bobrapet.validation.execution import check_overrides, check_policy, check_retry, check_rights, check_storage
from bobrapet.validation.faults import Findings, did_you_mean, quoted
from bobrapet.validation.graph import Upstream, branch_names, branches, check_graph, step_lists
from bobrapet.validation.json_schema import CompiledSchema, InvalidSchema, compile_schema
from bobrapet.validation.primitives import check_primitive
from bobrapet.validation.references import CORE, Referrer, Target
from bobrapet.validation.scene import Absent, Scene
from bobrapet.validation.streaming import check_streaming
from bobrapet.validation.structure import check_step_structure
from bobrapet.validation.templates import Scope, Templates, check_templates, read_template
from bobrapet.validation.values import check_duration, check_schema, check_size, deep_merge, report_violations

_BLOCK_HINT: Final = "Move large data into storage and refer to it (controller.max-story-with-block-size-bytes)"
_BATCH_ONLY: Final = frozenset({StepType.WAIT, StepType.GATE})
_READERS: Final = frozenset({StepType.EXECUTE_STORY, StepType.PARALLEL})
"""Primitives that depend on the steps that their `with` reads, as Engrams do."""
_NO_WORD: Final = re.compile(r"\W", re.ASCII)


def check_story(story: Story, scene: Scene, findings: Findings, size: int | None = None) -> None:
    """Adds to `findings` what is wrong with `story`, or doubtful. `size`: bytes of all of it, where they are known."""
    _StoryCheck(story, scene, findings, size).run()


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What the inputs of a component's steps must fit."""

    schema: CompiledSchema
    shared: Mapping[str, Any]
    """The part of the Engram's own configuration that counts as inputs."""
    owner: str
    """Whose schema it is, for messages."""


@dataclass(frozen=True)
class _Component:
    """What a step's reference leads to, as far as it is there."""

    engram: Engram | None = None
    template: EngramTemplate | None = None

    @property
    def mode(self) -> WorkloadMode | None:
        """How the Engram runs: unset means job where the template supports it (workloads R-3.12)."""
        if self.engram is None:
            return None
        supported = self.template.spec.supported_modes if self.template is not None else ()
        if self.engram.spec.mode is not None or not supported or WorkloadMode.JOB in supported:
            return self.engram.spec.mode or WorkloadMode.JOB
        return supported[0]

    @cached_property
    def inputs(self) -> _Inputs | None:
        """None: the steps may have any inputs. A schema that does not compile is the template's fault."""
        template, engram = self.template, self.engram
        if engram is None or template is None or not template.spec.input_schema:
            return None
        try:
            compiled = compile_schema(template.spec.input_schema)
        except InvalidSchema:
            return None
        shared = declared_only(engram.spec.with_ or {}, template.spec.input_schema)
        return _Inputs(compiled, shared, f"EngramTemplate '{template.metadata.name}'")


class _StoryCheck:
    def __init__(self, story: Story, scene: Scene, findings: Findings, size: int | None) -> None:
        self._story = story
        self._spec: StorySpec = story.spec
        self._scene = scene
        self._findings = findings
        self._namespace = story.metadata.namespace or ""
        self._streaming = story.spec.is_streaming
        self._transports = {transport.name.strip() for transport in story.spec.transports}
        self._block_limit = scene.config.controller.max_story_block_bytes
        self._may_have_large_blocks = size is None or size > self._block_limit
        self._components: dict[tuple[str, str], _Component] = {}
        self._at_home: dict[str, _Component] = {}
        """Whole components of the Story's own namespace by name: there is nothing to say about them again."""
        self._reads: dict[str, dict[str, str]] = {}
        """Step -> names that its templates read -> path of the first that does."""
        self._runtime_reads: dict[str, dict[str, str]] = {}
        self._watched: dict[str, dict[str, str]] = {}
        """The same for what wait steps watch: those steps must exist, but need not run before."""

    def run(self) -> None:
        spec, findings = self._spec, self._findings
        check_schema(findings, "spec.inputsSchema", spec.inputs_schema, "Story inputs schema")
        check_schema(findings, "spec.outputsSchema", spec.outputs_schema, "Story outputs schema")
        if spec.output is not None:
            self._block("spec.output", spec.output)
            check_templates(findings, "spec.output", spec.output, Scope.STORY_OUTPUT)
        for entry in step_lists(spec):
            for path, step in entry.placed():
                self._step(path, step)
        reads = self._reads_by_step(self._reads)
        check_graph(findings, spec, {} if self._streaming else reads)
        self._doubtful_reads(reads)
        self._policy(spec.policy)
        self._check_transports()

    def _block(self, path: str, block: Mapping[str, Any]) -> None:
        check_size(self._findings, path, block, self._block_limit, _BLOCK_HINT)

    # Steps

    def _step(self, path: str, step: Step) -> None:
        findings, reference, step_type = self._findings, step.ref, step.type
        if step_type is not None:
            if reference is not None:
                findings.invalid(path, "must not set both ref and type")
            if self._streaming and step_type in _BATCH_ONLY:
                findings.invalid(f"{path}.type", f"{step_type} is only supported for batch stories", step_type)
        elif reference is None:
            findings.required(path, "must set either ref or type")
        if self._may_have_large_blocks and step.with_ is not None:
            self._block(f"{path}.with", step.with_)
        if step_type is not None:
            check_primitive(findings, path, step)
            if step_type is StepType.EXECUTE_STORY:
                self._sub_story(f"{path}.with.storyRef", step)
        component = self._component(f"{path}.ref", reference) if reference is not None else None
        if self._streaming and component is not None and component.mode is WorkloadMode.JOB:
            text = "the Engram has mode job; a streaming Story keeps Engrams running: mode deployment or statefulset"
            self._scene.unfit(findings, f"{path}.ref.name", text)
        self._templates(path, step, component)
        if component is not None:
            self._inputs(path, step, component)
            self._secrets(path, step, component)
        if step.transport is not None:
            self._transport_of_step(f"{path}.transport", step.transport)
        if step.execution is not None:
            check_overrides(findings, f"{path}.execution", step.execution)
            check_rights(findings, f"{path}.execution", step.execution, "a step")
        if step_type is StepType.PARALLEL:
            for index, branch in enumerate(branches(step)):
                self._branch(f"{path}.with.steps[{index}]", branch)

    def _branch(self, path: str, given: Mapping[str, Any]) -> None:
        if not check_step_structure(self._findings, path, given):
            return
        branch = Step.model_validate(given)
        component = self._component(f"{path}.ref", branch.ref) if branch.ref is not None else None
        check_overrides(self._findings, f"{path}.execution", branch.execution)
        check_rights(self._findings, f"{path}.execution", branch.execution, "a step")
        if component is not None:
            # Their templates were checked as part of the parallel step's `with`.
            self._inputs(path, branch, component)
            self._secrets(path, branch, component)

    def _templates(self, path: str, step: Step, component: _Component | None) -> None:
        findings, condition, inputs, name = self._findings, step.if_, step.with_, step.name
        if condition is not None:
            scope = Scope.REALTIME_RUNTIME if self._streaming else Scope.BATCH_RUNTIME
            read_template(findings, f"{path}.if", condition, scope, self._reads.setdefault(name, {}))
        if step.idempotency_key_template is not None:
            at = f"{path}.idempotencyKeyTemplate"
            check_templates(findings, at, step.idempotency_key_template, Scope.BATCH_RUNTIME)
        if inputs is not None:
            # What a wait or a stop reads when it is evaluated may be anything; a component waits for what it reads.
            scope = Scope.REALTIME_STATIC if self._streaming else Scope.BATCH_RUNTIME
            found = Templates(f"{path}.with", inputs)
            if step.ref is not None or step.type in _READERS:
                if found.places or found.places is None:
                    found.read(findings, scope, self._reads.setdefault(name, {}))
            elif step.type is StepType.WAIT:
                found.read(findings, scope, self._watched.setdefault(name, {}))
            else:
                found.check(findings, scope)
        if step.runtime is not None:
            self._runtime(f"{path}.runtime", step, component)
        if step.post_execution is not None:
            at = f"{path}.postExecution.condition"
            check_templates(findings, at, step.post_execution.condition, Scope.BATCH_RUNTIME)

    def _runtime(self, path: str, step: Step, component: _Component | None) -> None:
        always_on = component is not None and component.mode not in (None, WorkloadMode.JOB)
        if not (self._streaming or step.transport or always_on):
            if component is not None and component.engram is None:
                self._findings.warn(path, "runtime is allowed for now; it needs an Engram of mode deployment")
            else:
                self._findings.invalid(path, "runtime is only supported for realtime stories or bridged realtime steps")
        reads = self._runtime_reads.setdefault(step.name, {})
        Templates(path, step.runtime).read(self._findings, Scope.REALTIME_RUNTIME, reads)

    # Engrams and Stories that steps refer to

    def _component(self, path: str, reference: EngramReference) -> _Component | None:
        """Finds Engram and template; None when the reference itself is refused."""
        is_plain = not reference.namespace and not reference.version
        if is_plain and reference.name in self._at_home:
            return self._at_home[reference.name]
        namespace = (reference.namespace or "").strip() or self._namespace
        name = reference.name.strip()
        target = Target(CORE, "Engram", namespace, name)
        if not self._scene.may_refer(self._findings, path, self._referrer(), target):
            return None
        key = (namespace, name)
        if key not in self._components:
            self._components[key] = self._find_component(namespace, name)
        component = self._components[key]
        if component.engram is None:
            self._scene.missing(self._findings, f"{path}.name", f"engram '{name}' not found in namespace '{namespace}'")
            return component
        self._version(path, "Engram", name, reference.version, component.engram.spec.version)
        if component.template is None:
            template = component.engram.spec.template_ref.name.strip()
            self._scene.missing(self._findings, path, f"EngramTemplate '{template}' of engram '{name}' not found")
        elif is_plain:
            self._at_home[reference.name] = component
        return component

    def _secrets(self, path: str, step: Step, component: _Component) -> None:
        """Secrets without which the pod of the step cannot start. An Engram is checked for its own by itself, so they
        count only where nothing will appear later."""
        engram, template = component.engram, component.template
        if engram is None or template is None:
            return
        bound = {logical: (name, f"{path}.secrets[{logical}]") for logical, name in step.secrets.items()}
        if self._scene.absent is Absent.REFUSES:
            at = f"{path}.ref"
            bound = {logical: (name, at) for logical, name in engram.spec.secrets.items()} | bound
            bound |= {"": (tls, at)} if (tls := tls_secret(engram)) else {}
        for logical, (name, at) in bound.items():
            wanted = name.strip()
            is_used = not logical or logical in template.spec.secret_schema
            if wanted and is_used and not self._scene.lookup.has_secret(self._namespace, wanted):
                use = f"bound to {quoted(logical)}" if logical else "for TLS"
                text = f"secret '{wanted}' ({use} of engram '{engram.metadata.name}') not found"
                self._scene.missing(self._findings, at, f"{text} in namespace '{self._namespace}'")
        required = dict.fromkeys(_required_secrets(step.execution), f"{path}.execution.security.requiredSecrets")
        if self._scene.absent is Absent.REFUSES and not required:
            required = dict.fromkeys(_required_secrets(engram.spec.overrides), f"{path}.ref")
        for name, at in required.items():
            if (wanted := name.strip()) and not self._scene.lookup.has_secret(self._namespace, wanted):
                text = f"secret '{wanted}' (required) not found in namespace '{self._namespace}'"
                self._scene.missing(self._findings, at, text)

    def _find_component(self, namespace: str, name: str) -> _Component:
        engram = self._scene.lookup.find(Engram, namespace, name)
        if engram is None:
            return _Component()
        return _Component(engram, self._scene.lookup.find(EngramTemplate, "", engram.spec.template_ref.name.strip()))

    def _sub_story(self, path: str, step: Step) -> None:
        reference = (step.with_ or {}).get("storyRef")
        if (
            not isinstance(reference, dict)
            or not isinstance(reference.get("name"), str)
            or not reference["name"].strip()
        ):
            return
        given = reference.get("namespace")
        namespace = (given.strip() if isinstance(given, str) else "") or self._namespace
        name = reference["name"].strip()
        if name == self._story.metadata.name and namespace == self._namespace:
            self._findings.invalid(f"{path}.name", "executeStory cannot reference the same story", name)
            return
        if not self._scene.may_refer(self._findings, path, self._referrer(), Target(CORE, "Story", namespace, name)):
            return
        story = self._scene.lookup.find(Story, namespace, name)
        if story is None:
            self._scene.missing(self._findings, f"{path}.name", f"story '{name}' not found in namespace '{namespace}'")
            return
        if story.spec.is_streaming and not self._streaming:
            text = f"story '{name}' is streaming and has no end that a batch Story could wait for"
            self._scene.unfit(self._findings, f"{path}.name", text)
        version = reference.get("version")
        self._version(path, "Story", name, version if isinstance(version, str) else None, story.spec.version)

    def _version(self, path: str, kind: str, name: str, pinned: str | None, actual: str | None) -> None:
        wanted = (pinned or "").strip()
        if wanted and wanted != (actual or "").strip():
            self._findings.warn(
                f"{path}.version",
                f"version mismatch: {kind} '{name}' has version {quoted((actual or '').strip())}, not {quoted(wanted)}",
            )

    def _referrer(self) -> Referrer:
        return Referrer(CORE, "Story", self._namespace)

    def _inputs(self, path: str, step: Step, component: _Component) -> None:
        """The inputs that the step will have fit the template's inputSchema (decision 11)."""
        inputs = component.inputs
        if inputs is None:
            return
        own = step.with_ or {}
        if step.runtime:
            own = {**own, **step.runtime}
        if inputs.shared:
            own = deep_merge(inputs.shared, own)
        report_violations(self._findings, f"{path}.with", own, inputs.schema, inputs.owner)

    # What templates read

    def _reads_by_step(self, reads: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        """What the templates of each main step read: step -> path of the first template that does.

        A name of a branch counts as its parallel step, and a step is also known by its name with every other
        character made an underscore.
        """
        if not reads:
            return {}
        known = {step.name for step in self._spec.steps}
        if all(known.issuperset(names) for names in reads.values()):
            return {step: names for step, names in reads.items() if step in known}
        other_names = {_NO_WORD.sub("_", name): name for name in known} | branch_names(self._spec.steps)
        return {
            step: {name if name in known else other_names.get(name, name): path for name, path in names.items()}
            for step, names in reads.items()
            if step in known
        }

    def _doubtful_reads(self, reads: Mapping[str, Mapping[str, str]]) -> None:
        upstream = Upstream(self._spec.steps)
        in_runtime = self._reads_by_step(self._runtime_reads)
        watched = self._reads_by_step(self._watched)
        for step in self._spec.steps:
            name = step.name
            found = reads.get(name) or {}
            if name in in_runtime:
                found = {**in_runtime[name], **found}
            for read, path in found.items():
                if read not in upstream:
                    self._unknown(step, read, path)
                elif read not in step.needs and read != name and not upstream.runs_before(read, name):
                    self._findings.warn(
                        path,
                        f"step '{name}' references step '{read}' which is not in its upstream dependency chain; "
                        f"add it to needs",
                    )
            for read, path in watched[name].items() if name in watched else ():
                if read not in upstream:
                    self._unknown(step, read, path)

    def _unknown(self, step: Step, read: str, path: str) -> None:
        self._findings.warn(
            path,
            f"step '{step.name}' references unknown step '{read}' in template expression"
            f"{did_you_mean(read, [step.name for step in self._spec.steps])}",
        )

    # Policy and transports

    def _policy(self, policy: StoryPolicy | None) -> None:
        if policy is None:
            return
        findings, path = self._findings, "spec.policy"
        if policy.timeouts is not None:
            check_duration(findings, f"{path}.timeouts.story", policy.timeouts.story, positive=True)
            check_duration(findings, f"{path}.timeouts.step", policy.timeouts.step, positive=True)
            at = f"{path}.timeouts.gracefulShutdownTimeout"
            check_duration(findings, at, policy.timeouts.graceful_shutdown_timeout)
        if policy.with_ is not None:
            self._block(f"{path}.with", policy.with_)
            check_templates(findings, f"{path}.with", policy.with_, Scope.BATCH_RUNTIME)
        if policy.retries is not None:
            check_retry(findings, f"{path}.retries.stepRetryPolicy", policy.retries.step_retry_policy)
        if policy.concurrency is not None and policy.concurrency < 0:
            findings.invalid(f"{path}.concurrency", f"must be at least 0 (no limit), is {policy.concurrency}")
        check_storage(findings, f"{path}.storage", policy.storage)
        check_policy(findings, f"{path}.execution", policy.execution)

    def _check_transports(self) -> None:
        findings = self._findings
        names = [step.name for entry in step_lists(self._spec) for step in entry.steps]
        seen: set[str] = set()
        for index, transport in enumerate(self._spec.transports):
            path = f"spec.transports[{index}]"
            name = transport.name.strip()
            if not name:
                findings.required(f"{path}.name")
            elif name in seen:
                findings.duplicate(f"{path}.name", f"transport name {quoted(name)} is duplicated", name)
            seen.add(name)
            reference = transport.transport_ref.strip()
            if not reference:
                findings.required(f"{path}.transportRef", "required; the name of a Transport")
            elif self._scene.lookup.find(Transport, "", reference) is None:
                self._scene.missing(findings, f"{path}.transportRef", f"Transport '{reference}' not found")
            check_streaming(findings, f"{path}.streaming", transport.streaming, steps=names)

    def _transport_of_step(self, path: str, name: str) -> None:
        if not self._transports:
            self._findings.invalid(
                path, f"uses transport {quoted(name)}, but the Story does not declare any transports"
            )
        elif name.strip() not in self._transports:
            self._findings.invalid(
                path,
                f"references unknown transport {quoted(name)}{did_you_mean(name, self._transports)}",
                name,
            )


def _required_secrets(overrides: ExecutionOverrides | None) -> Sequence[str]:
    return overrides.security.required_secrets if overrides is not None and overrides.security is not None else ()


def declared_only(configuration: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an Engram's `with` that counts as inputs: a schema that is closed drops what it does not declare."""
    if schema.get("additionalProperties") is not False:
        return dict(configuration)
    declared = schema.get("properties")
    names = declared.keys() if isinstance(declared, Mapping) else ()
    return {key: value for key, value in configuration.items() if key in names}


def story_inputs(story: Story, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The inputs of a run with the defaults of the Story's inputsSchema."""
    inputs = dict(given or {})
    if not story.spec.inputs_schema:
        return inputs
    try:
        filled: dict[str, Any] = compile_schema(story.spec.inputs_schema).with_defaults(inputs)
    except InvalidSchema:
        return inputs
    return filled
