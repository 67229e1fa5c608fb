"""What Kubernetes does for the operator: pods of Jobs, the components in them, the ends of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bobrapet.api import labels
from bobrapet.api.enums import Phase
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.storage import Limits, dehydrate, output_prefix
from tests.simulation.cluster import Choice, Object

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

MOST_LOST = 2  # an operator gives up on a Job that disappears again and again


@dataclass
class Component:
    """A process of a step."""

    step: str
    uid: str
    """Of the StepRun."""
    attempt: int
    job: str
    pod: ObjectKey
    does: str
    has_reported: bool = False


class Nodes:
    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._server, self._case = simulation.server, simulation.case
        self.components: list[Component] = []
        self.lost: dict[str, int] = {}
        """Uid of a StepRun -> Jobs of it that disappeared, by nobody's decision here."""

    def choices(self) -> list[Choice]:
        """What may happen now."""
        random, found = self._simulation.random, list[Choice]()
        if waiting := self._jobs_without_pod():
            job = random.choice(waiting)
            found.append((2.0, f"pod of {job['metadata']['name']} starts", lambda: self._start_pod(job)))
        acting = [component for component in self.components if self._can_act(component)]
        if acting:
            found.append((3.0, "", lambda: self._act(random.choice(acting))))
        if orders := self._jobs_to_end():
            found.append((2.0, "", lambda: self._end_job(*random.choice(orders))))
        return found

    def lose_job(self) -> None:
        """Somebody deletes a Job that runs."""
        jobs = [
            (key, job["metadata"]["ownerReferences"][0]["uid"])
            for key, job in self._server.of("Job").items()
            if not job.get("status", {}).get("conditions")
        ]
        if not jobs:
            return
        key, step = self._simulation.random.choice(sorted(jobs))
        if self.lost.get(step, 0) < MOST_LOST:
            self._simulation.tell(f"somebody deletes Job {key.name}")
            self.lost[step] = self.lost.get(step, 0) + 1
            self._server.delete("Job", key)

    def _jobs_without_pod(self) -> list[Object]:
        with_pod = {pod["metadata"]["ownerReferences"][0]["uid"] for pod in self._server.of("Pod").values()}
        return [
            job
            for job in self._server.of("Job").values()
            if job["metadata"]["uid"] not in with_pod and not job.get("status", {}).get("conditions")
        ]

    def _start_pod(self, job: Object) -> None:
        metadata, name = job["metadata"], job["metadata"]["name"]
        template = job["spec"]["template"]["metadata"]
        attempt = int(metadata["annotations"][labels.ANNOTATION_ATTEMPT])
        pod: Object = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{name}-{metadata['uid'].rpartition('-')[2]}",
                "namespace": "wf",
                "labels": {
                    **template["labels"],
                    "batch.kubernetes.io/job-name": name,
                    "batch.kubernetes.io/controller-uid": metadata["uid"],
                },
                "annotations": template.get("annotations", {}),
                "ownerReferences": [{"kind": "Job", "apiVersion": "batch/v1", "name": name, "uid": metadata["uid"]}],
            },
            "spec": {},
        }
        self._server.create("Pod", pod)
        key = ObjectKey("wf", pod["metadata"]["name"])
        self._server.patch("Pod", key, {"status": {"phase": "Running"}}, status=True)
        does = self._case.does(self._script(name), attempt)
        owner = metadata["ownerReferences"][0]["uid"]
        self.components.append(Component(name, owner, attempt, metadata["uid"], key, does))

    def _script(self, steprun: str) -> str:
        """Whose script the component of a StepRun follows: its step's, in a child run that of the step above."""
        step = self._server.get("StepRun", steprun)
        if step is None:
            return ""
        run = self._server.get("StoryRun", step["spec"]["storyRunRef"]["name"]) or {"metadata": {}}
        parent: str = run["metadata"].get("labels", {}).get(labels.PARENT_STEP, "")
        return parent or str(step["spec"]["stepId"])

    def _can_act(self, component: Component) -> bool:
        return component.does != "hang" or not self._is_alive(component)

    def _is_alive(self, component: Component) -> bool:
        job = self._server.get("Job", component.step)
        return job is not None and job["metadata"]["uid"] == component.job

    def _act(self, component: Component) -> None:
        """A process reports, or ends. One whose Job was deleted may still report once before it is gone."""
        reports = {"ok": "Succeeded", "retry": "Failed", "terminal": "Failed"}
        is_alive = self._is_alive(component)
        is_heard = is_alive or self._simulation.random.random() < 0.3
        if component.does in reports and not component.has_reported and is_heard:
            component.has_reported = True
            self._report(component, reports[component.does])
            return
        self.components.remove(component)
        if not is_alive:
            if self._server.of("Pod").get(component.pod) is not None:
                self._server.delete("Pod", component.pod)
            return
        code = {"ok": 0, "silent": 0, "killed": 137}.get(component.does, 1)
        terminated = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
        phase = "Succeeded" if code == 0 else "Failed"
        status = {"phase": phase, "containerStatuses": [{"name": "engram", "state": {"terminated": terminated}}]}
        self._simulation.tell(f"{component.step} exits with {code}")
        self._server.patch("Pod", component.pod, {"status": status}, status=True)

    def _report(self, component: Component, phase: str) -> None:
        step = self._server.get("StepRun", component.step)
        status = (step or {}).get("status") or {}
        if step is None or step["metadata"]["uid"] != component.uid or status.get("retries", 0) != component.attempt:
            return  # the fence of the SDK
        if status.get("phase") and Phase(status["phase"]).is_terminal:
            return
        body: Object = {"phase": phase}
        if phase == "Succeeded":
            body["output"] = self._output(step, component)
        else:
            body |= {"exitClass": component.does, "exitCode": 1, "lastFailureMsg": component.does}
        self._simulation.tell(f"{component.step} reports {phase}")
        self._server.patch("StepRun", ObjectKey("wf", component.step), {"status": body}, status=True)

    def _output(self, step: Object, component: Component) -> Any:
        if step["metadata"]["labels"].get(labels.MATERIALIZE) == "true":
            return {"result": _evaluated(step["spec"]["input"])}
        output = {"v": component.attempt}
        if not self._case.offloads:
            return output
        prefix = output_prefix("wf", component.step)
        return dehydrate(output, self._simulation.store, prefix, Limits(inline=0))

    def _jobs_to_end(self) -> list[tuple[ObjectKey, str]]:
        ended = []
        for key, job in self._server.of("Job").items():
            if job.get("status", {}).get("conditions"):
                continue
            for pod in self._server.of("Pod").values():
                phase = pod.get("status", {}).get("phase")
                if pod["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"] and phase != "Running":
                    ended.append((key, "Complete" if phase == "Succeeded" else "Failed"))
        return ended

    def _end_job(self, key: ObjectKey, type_: str) -> None:
        conditions = [{"type": type_, "status": "True", "reason": "BackoffLimitExceeded"}]
        self._simulation.tell(f"Job {key.name} is {type_}")
        self._server.patch("Job", key, {"status": {"conditions": conditions}}, status=True)


def _evaluated(question: Object) -> Any:
    """What the templates of our Stories give: a component evaluates them where the controller reaches no store."""
    if question["mode"] == "condition":
        return "lt " not in question["template"] and "ne " not in question["template"]
    return dict.fromkeys(question["template"], 0)
