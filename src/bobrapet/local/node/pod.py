"""One pod on this node: lays out its volumes, runs its containers, and tells the API server how it goes.

The order of a kubelet: volumes, init containers one after the other, then the others together; restarts by policy with
back-off; on deletion or past the deadline SIGTERM, then SIGKILL after the grace period. Every wait is for an event or
an exact deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from bobrapet.runtime.errors import ControllerRuntimeError

from . import credentials
from .actions import Actor
from .ending import Ending
from .errors import ConfigInvalid, ImageNotProvided, InvalidImageCommand, NodeError, StartFailed, VolumeUnavailable
from .launch import Launch, Run, message_path, stop_signal
from .logs import ContainerLog, tail
from .probes import Probe, Prober, probes_of
from .processes import Exit, Process
from .reporting import StatusReporter
from .services import Services
from .status import Container, Terminated, Verdict, containers_of, phase, pod_status, recall
from .volumemanager import VolumeManager
from .volumes import PodFolder

log = logging.getLogger(__name__)

START_ERROR_CODE = 128  # the exit code that container runtimes give a container which could not be started
DEFAULT_GRACE = 30
FORCED_GRACE = 2  # seconds that a kubelet grants a pod which was removed by force
MESSAGE_BYTES = 2048  # of a log that may become a termination message
MESSAGE_LINES = 80

T = TypeVar("T")


class PodWorker:
    """Drives one pod from its arrival on the node to its end.

    `run` returns when nothing of the pod runs any more and its last status is written.
    """

    def __init__(self, pod: Mapping[str, Any], services: Services) -> None:
        self.pod = credentials.with_token_volume(pod)
        meta = pod["metadata"]
        self.folder = PodFolder(services.folder, meta["namespace"], meta["name"], meta["uid"])
        self._services = services
        self._clock = services.clock
        self._spec = self.pod["spec"]
        self._policy = self._spec.get("restartPolicy") or "Always"
        self._containers: list[Container] = []
        self._runs: dict[str, Run] = {}
        self._ending = Ending(services.clock)
        self._sandbox_ready = False
        self._started_at = self._first_start()
        self._reporter = StatusReporter(services.api, self.pod, services.clock)
        self._volumes = VolumeManager(self.pod, self.folder, services)
        self._launch = Launch(self.pod, self.folder, self._volumes, services)

    # -- what the node tells the worker

    def update(self, pod: Mapping[str, Any]) -> None:
        """Takes a newer version of the pod: labels for the downward API, and the request to end."""
        meta = pod["metadata"]
        self.pod["metadata"] = meta
        self._volumes.pod_changed()
        self._reporter.observe(pod)
        if meta.get("deletionTimestamp"):
            grace = meta.get("deletionGracePeriodSeconds")
            self.stop(float(DEFAULT_GRACE if grace is None else grace))

    def removed(self) -> None:
        """The object is gone; nothing can be reported any more."""
        self._reporter.abandon()
        self.stop(FORCED_GRACE)

    def stop(self, grace: float, verdict: Verdict | None = None) -> None:
        """Ends the pod; a later call can only shorten the grace period."""
        self._ending.ask(grace, verdict)

    @property
    def containers(self) -> Sequence[Container]:
        """The containers as they are now."""
        return self._containers

    def live_log(self, container: str) -> ContainerLog | None:
        """The log that is being written for the container."""
        run = self._runs.get(container)
        return run.log if run else None

    # -- life of the pod

    async def run(self) -> None:
        """Runs the pod to its end."""
        self._containers = self._remembered()
        entries = [*(self._spec.get("initContainers") or ()), *self._spec["containers"]]
        self._runs = {entry["name"]: Run(index, entry) for index, entry in enumerate(entries)}
        try:
            verdict = await self._live()
        except Exception as error:
            log.exception("pod %s: the node met a fault of its own", self._name)
            verdict = Verdict("Failed", "NodeFault", f"{type(error).__name__}: {error}")
        finally:
            self._kill()
            await self._volumes.aclose()
        self._report(verdict, final=True)
        self.folder.discard_files()
        await self._reporter.finish()

    async def _live(self) -> Verdict | None:
        """Everything between the first attempt and the last exit; answers what the node has to say about the end."""
        life = asyncio.create_task(self._play())
        try:
            deadline = self._deadline()
            stopping = asyncio.create_task(self._ending.asked.wait())
            timer = None
            if deadline is not None:
                message = "Pod was active on the node longer than the specified deadline"
                verdict = Verdict("Failed", "DeadlineExceeded", message)
                grace = self._grace
                timer = self._clock.call_at(deadline, lambda: self.stop(grace, verdict))
            try:
                await asyncio.wait({life, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                if timer is not None:
                    timer.cancel()
            if not life.done():
                await self._terminate(life)
            await life
        except asyncio.CancelledError:
            # The node itself leaves: no time for politeness, the processes must be gone when it is.
            self._kill()
            life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await life
            raise
        return self._verdict()

    async def _terminate(self, life: asyncio.Task[None]) -> None:
        """SIGTERM to every main process, SIGKILL to what is left when the (possibly shortened) grace period is over."""
        asked = [
            asyncio.create_task(self._ask_to_end(run, run.process))
            for run in self._runs.values()
            if run.process is not None
        ]
        try:
            while not life.done():
                left = self._ending.left()
                if left <= 0:
                    self._kill()
                    await asyncio.wait({life})
                    return
                self._ending.shortened.clear()
                await self._first(left, self._ending.shortened, life)
        finally:
            for task in asked:
                task.cancel()

    async def _ask_to_end(self, run: Run, process: Process) -> None:
        """The preStop hook, and then the signal."""
        hook = (run.spec.get("lifecycle") or {}).get("preStop")
        if hook:
            problem = await self._actor(run).act(hook)
            if problem:
                self._services.events.warning(self.pod, "FailedPreStopHook", f"PreStopHook failed: {problem}")
        process.send_signal(stop_signal(run.spec))

    async def _replace(self, run: Run, process: Process, grace: float) -> None:
        """Ends one container for the sake of its next start."""
        asking = asyncio.create_task(self._ask_to_end(run, process))
        try:
            async with asyncio.timeout(grace):
                await process.wait()
        except TimeoutError:
            process.kill()
        finally:
            asking.cancel()

    def _kill(self) -> None:
        for run in self._runs.values():
            if run.process is not None:
                run.process.kill()

    async def _first(self, seconds: float | None, event: asyncio.Event, *tasks: asyncio.Task[Any]) -> None:
        """Waits for `seconds`, for the event, or for one of the tasks, whatever comes first."""
        others = {asyncio.create_task(_set(event))}
        if seconds is not None:
            others.add(asyncio.create_task(self._clock.sleep(seconds)))
        try:
            await asyncio.wait(others.union(tasks), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in others:
                task.cancel()

    @property
    def _grace(self) -> float:
        seconds = self._spec.get("terminationGracePeriodSeconds")
        return float(DEFAULT_GRACE if seconds is None else seconds)

    async def _play(self) -> None:
        """Volumes, then init containers in order, then the others together."""
        if phase(self._containers, self._policy) in ("Succeeded", "Failed"):
            return  # its end was only not told yet
        if not await self._until_ready(self._volumes.lay_out, None):
            return
        self._sandbox_ready = True
        sidecars = []
        for index, container in enumerate(self._containers):
            run = self._runs[container.name]
            if container.role == "sidecar":
                sidecars.append(asyncio.create_task(self._container(run)))
                await self._first(None, run.up, sidecars[-1], asyncio.create_task(self._ending.asked.wait()))
            elif container.role == "init" and not container.succeeded:
                await self._container(run)
                if not self._containers[index].succeeded:
                    await self._end(sidecars)
                    return
        try:
            async with asyncio.TaskGroup() as group:
                for container in self._containers:
                    if container.role == "app":
                        group.create_task(self._container(self._runs[container.name]))
        finally:
            await self._end(sidecars)

    async def _end(self, sidecars: list[asyncio.Task[None]]) -> None:
        """Sidecars live as long as the containers they serve."""
        if not sidecars:
            return
        self.stop(self._grace)
        await self._terminate(asyncio.ensure_future(_all(sidecars)))

    async def _container(self, run: Run) -> None:
        """One container through all its starts."""
        while not self._ending.is_asked():
            if not self._due(run):
                return
            ended = isinstance(self._containers[run.index].state, Terminated)
            if ended and not await self._back_off(run):
                return
            process = await self._until_ready(lambda: self._start(run), run)
            if process is not None:
                await self._attend(run, process)

    def _due(self, run: Run) -> bool:
        """Whether the container has to be started (again), by its state and the restart policy."""
        container = self._containers[run.index]
        if not isinstance(container.state, Terminated) or container.role == "sidecar":
            return True
        if container.role == "init":
            return not container.succeeded and self._policy != "Never"
        return self._policy == "Always" or (self._policy == "OnFailure" and not container.succeeded)

    async def _back_off(self, run: Run) -> bool:
        """Waits for the moment of the next start; False when the pod is to end meanwhile."""
        container = self._containers[run.index]
        assert isinstance(container.state, Terminated)
        end = container.state
        lived = (end.finished_at - (end.started_at or end.finished_at)).total_seconds()
        backoff = self._services.crash_backoff
        run.crashes = 0 if lived >= backoff.reset else run.crashes
        delay = backoff.delay(run.crashes) if run.crashes else 0.0
        run.crashes += 1
        message = f"back-off {delay:g}s restarting failed container={container.name} pod={self._name}"
        self._set(run, container.restarts_after("CrashLoopBackOff", message if delay else ""))
        if delay:
            self._services.events.warning(self.pod, "BackOff", f"Back-off restarting failed container {container.name}")
            self._report()
            await self._first(delay, self._ending.asked)
        return not self._ending.is_asked()

    async def _start(self, run: Run) -> Process:
        """Starts the container's process. Raises NodeError."""
        process = await self._launch.start(run, self._containers[run.index])
        if self._ending.is_overdue():  # the pod was stopped while this was being started
            process.kill()
        elif self._ending.is_asked():
            process.send_signal(stop_signal(run.spec))
        return process

    async def _attend(self, run: Run, process: Process) -> None:
        """Reports the start, waits for the end, reports that."""
        container_id = f"bobrapet://{secrets.token_hex(32)}"
        watched = bool(probes_of(run.spec) or (run.spec.get("lifecycle") or {}).get("postStart"))
        up = not watched
        self._set(run, self._containers[run.index].runs(container_id, process.started_at, ready=up, started=up))
        self._report()
        if up:
            run.up.set()
        watching = asyncio.create_task(self._watch_over(run, process)) if watched else None
        try:
            end = await process.wait()
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.wait({watching})
            run.close()
        run.process = None
        self._set(run, self._containers[run.index].ends(self._terminated(run, process, end)))
        self._drop_old_logs(run)
        self._report()

    async def _watch_over(self, run: Run, process: Process) -> None:
        """The postStart hook, then the probes, for as long as the container runs."""
        actor = self._actor(run)
        hook = (run.spec.get("lifecycle") or {}).get("postStart")
        if hook and (problem := await actor.act(hook)):
            self._services.events.warning(self.pod, "FailedPostStartHook", f"PostStartHook failed: {problem}")
            await self._replace(run, process, self._grace)
            return
        doomed: list[Probe] = []

        def started() -> None:
            self._set(run, replace(self._containers[run.index], started=True))
            run.up.set()
            self._report()

        def ready(value: bool) -> None:
            self._set(run, replace(self._containers[run.index], ready=value))
            self._report()

        def unhealthy(probe: Probe, problem: str) -> None:
            message = f"{probe.kind.capitalize()} probe failed: {problem}"
            self._services.events.warning(self.pod, "Unhealthy", message)

        prober = Prober(
            probes_of(run.spec),
            actor,
            self._clock,
            started=started,
            ready=ready,
            unhealthy=unhealthy,
            dead=doomed.append,
        )
        await prober.run()
        for probe in doomed:
            message = f"Container {run.spec['name']} failed {probe.kind} probe, will be restarted"
            self._services.events.warning(self.pod, "Killing", message)
            await self._replace(run, process, self._grace if probe.grace is None else probe.grace)

    def _actor(self, run: Run) -> Actor:
        assert run.command is not None
        return Actor(self._services.launcher, run.spec, run.command, self._services.machine.ip)

    def _terminated(self, run: Run, process: Process, end: Exit) -> Terminated:
        message = self.folder.termination_message(run.spec["name"], message_path(run.spec))
        if not message and end.code != 0 and run.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            message = tail(run.log.path, MESSAGE_LINES, MESSAGE_BYTES) if run.log else ""
        return Terminated(
            exit_code=end.code,
            reason="OOMKilled" if end.out_of_memory else "Completed" if end.code == 0 else "Error",
            finished_at=end.at,
            started_at=process.started_at,
            message=message,
            signal=end.signal,
        )

    async def _until_ready(self, attempt: Callable[[], Awaitable[T]], run: Run | None) -> T | None:
        """Repeats `attempt` with back-off while what it needs is missing; None when the pod is to end, or it cannot.

        Failures show in the status of the container (`run`), or of all of them, with the reason a kubelet would give.
        """
        tries = 0
        while not self._ending.is_asked():
            tries += 1
            try:
                return await attempt()
            except StartFailed as error:
                assert run is not None
                self._fail_start(run, error)
                return None
            except (ImageNotProvided, InvalidImageCommand) as error:
                # What is installed does not change while this process runs, so nothing but the end is left to wait for.
                self._show(run, error, "Failed")
                await self._ending.asked.wait()
                return None
            except (ConfigInvalid, VolumeUnavailable) as error:
                self._show(run, error, "Failed" if run else "FailedMount")
            except (ControllerRuntimeError, OSError) as error:
                # The API server cannot be asked, or the disk is full: both may pass.
                log.warning("pod %s cannot be set up yet: %s", self._name, error)
                self._show(run, VolumeUnavailable(str(error)), "FailedMount")
            await self._first(self._services.setup_backoff.delay(tries), self._ending.asked)
        return None

    def _show(self, run: Run | None, error: NodeError, event: str) -> None:
        for container in tuple(self._containers):
            mine = run is not None and container.name == run.spec["name"]
            if mine or (run is None and not isinstance(container.state, Terminated)):
                self._set(self._runs[container.name], container.waits(error.reason, str(error)))
        self._services.events.warning(self.pod, event, f"Error: {error}")
        self._report()

    def _fail_start(self, run: Run, error: StartFailed) -> None:
        now = self._clock.now()
        container_id = f"bobrapet://{secrets.token_hex(32)}"
        container = replace(self._containers[run.index], container_id=container_id)
        end = Terminated(START_ERROR_CODE, error.reason, now, now, f"failed to start container: {error}")
        self._set(run, container.ends(end))
        self._services.events.warning(self.pod, "Failed", f"Error: {error}")
        self._report()

    def _drop_old_logs(self, run: Run) -> None:
        """Keeps the logs of this start and of the one before."""
        stale = self.folder.log(run.spec["name"], self._containers[run.index].restarts - 2)
        for path in (stale, stale.with_name(stale.name + ".1")):
            path.unlink(missing_ok=True)

    # -- state and status

    def _remembered(self) -> list[Container]:
        if not self.folder.existed:
            return containers_of(self.pod)
        return recall(self.pod, self.folder.starts(), self._clock.now())

    def _first_start(self) -> datetime:
        told = (self.pod.get("status") or {}).get("startTime")
        return datetime.fromisoformat(told.replace("Z", "+00:00")) if told else self._clock.now()

    def _deadline(self) -> float | None:
        """The moment (monotonic) at which activeDeadlineSeconds is over."""
        seconds = self._spec.get("activeDeadlineSeconds")
        if seconds is None:
            return None
        left = self._started_at + timedelta(seconds=int(seconds)) - self._clock.now()
        return self._clock.monotonic() + left.total_seconds()

    def _verdict(self) -> Verdict | None:
        """A phase that does not follow from the containers alone: stopped before they could end by themselves."""
        if not self._ending.is_asked():
            return None
        if self._ending.verdict is not None:
            return self._ending.verdict
        # Nothing will be started again, whatever the policy: what counts is how the containers ended.
        by_containers = phase(self._containers, "Never")
        return Verdict("Succeeded" if by_containers == "Succeeded" else "Failed")

    def _set(self, run: Run, container: Container) -> None:
        self._containers[run.index] = container

    def _report(self, verdict: Verdict | None = None, *, final: bool = False) -> None:
        containers = list(self._containers)
        if not final and phase(containers, self._policy) in ("Succeeded", "Failed"):
            return  # the last word follows at once, from `run`
        self._reporter.report(
            pod_status(
                self._reporter.pod,
                containers,
                started_at=self._started_at,
                now=self._clock.now(),
                ip=self._services.machine.ip,
                verdict=verdict,
                sandbox_ready=self._sandbox_ready,
            )
        )

    @property
    def _name(self) -> str:
        meta = self.pod["metadata"]
        return f"{meta['namespace']}/{meta['name']}"


async def _set(event: asyncio.Event) -> None:
    await event.wait()


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)
