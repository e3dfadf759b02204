"""The replicas as a deployment of Ray Serve: tried once, deployed, asked, and taken away at the end."""

import asyncio
import threading
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from moganet.errors import ConfigError, MogaNetError, UnreachableError, first_line
from moganet.machine import num_cores
from moganet.notices import say
from moganet.numbers import count
from moganet.ray_cluster import connected, starts_here
from moganet.serve.forwarding import Front, ReplicaDiedError
from moganet.serve.hosted import Serving
from moganet.serve.plan import Plan, Spread
from moganet.serve.replica import Asked, Looked, Rehearsed, Replica, Replied, rehearse
from moganet.serve.service import VERSION

STORE = 1 << 29  # bytes that Ray shares among processes; large bodies lie there on their way, beyond it on disk
PATIENCE = 600.0  # seconds, for machines that a cluster has yet to start
GPU, TRYING = 0.9, 0.1  # of each GPU: for a replica, and for what is tried before a reload
HEALTH = 2.0  # seconds between two looks at a replica
BUSY = 2  # requests for each of a replica's threads, beyond which another replica is started
SOON, LATE = 10.0, 300.0  # seconds until replicas are added, and until they are taken away


@contextmanager
def deployed(plan: Plan, spread: Spread) -> Iterator["Deployment"]:
    """Give the front of a service whose replicas answer for as long as the block lasts.

    Raises MissingExtraError without Ray, ConfigError for a cluster that does not answer, UnreachableError for one that
    lacks what is asked, and what a plan raises that can't be.
    """
    here = starts_here(spread.address)
    threads = plan.threads or (max(1, num_cores() // spread.most) if here else 1)
    cores = max(num_cores(), spread.most * threads)
    if here and cores > num_cores():
        say(f"{spread.most} replicas of {count(threads, 'thread')} share {count(num_cores(), 'core')}", doubtful=True)
    if "//" in (spread.address or ""):
        how = "start it on a machine of the cluster, with HOST:PORT or auto"
        raise ConfigError(f"--address {spread.address} is of Ray's client, by which nothing can be served; {how}")
    with connected(spread.address, cores, part="ray.serve", store=STORE) as ray:
        deployment = Deployment(ray, plan.elsewhere(threads=threads), spread)
        try:
            deployment.start()
            yield deployment
        finally:
            deployment.end()


class Asking:
    """Replicas, asked through the handle of their deployment. number: the fewest that there are."""

    def __init__(self, ray: Any, handle: Any, number: int) -> None:
        self.ray, self.number = ray, number
        self._answer, self._stream = handle.answer, handle.options(stream=True).stream

    async def ask(self, asked: Asked) -> Replied:
        """Ask a replica. Raises ReplicaDiedError."""
        response = self._answer.remote(asked)
        try:
            replied: Replied = await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        except Exception as error:
            raise self._understood(error) from error
        return replied

    async def stream(self, asked: Asked) -> AsyncGenerator[Replied, None]:
        """Ask a replica for an answer in parts. Raises ReplicaDiedError."""
        response = self._stream.remote(asked)
        try:
            async for part in response:
                yield part
        except (asyncio.CancelledError, GeneratorExit):
            response.cancel()
            raise
        except Exception as error:
            raise self._understood(error) from error

    def _understood(self, error: Exception) -> Exception:
        """Give what an error of a call means: that the replica is gone, or whatever it raised."""
        gone = (self.ray.exceptions.RayError, self.ray.serve.exceptions.RayServeException)
        if isinstance(error, gone) and not isinstance(error, self.ray.exceptions.RayTaskError):
            return ReplicaDiedError(first_line(error))
        return error


class Deployment(Front):
    """The front of a plan's replicas in a Ray cluster. Raises ConfigError for a GPU by its number."""

    def __init__(self, ray: Any, plan: Plan, spread: Spread) -> None:
        super().__init__(plan.limits, plan.origins)
        self.ray, self.serve, self.plan, self.number = ray, ray.serve, plan, spread.fewest
        self.made = deployment_of(ray, plan, spread)
        self.name = f"moganet-{uuid.uuid4().hex[:8]}"  # beside other applications of the cluster
        self.looked: Mapping[str, Looked] = {}
        self._begun = False

    def start(self) -> None:
        """Try the plan, and start its replicas. Raises what is wrong with it."""
        say(f"starting {count(self.number, 'replica')} of {count(self.plan.threads or 1, 'thread')} on Ray")
        found = self._rehearsed()
        for text, doubtful in found.said:
            say(text, doubtful=doubtful)
        self._begun = True
        self.serve.start(proxy_location="Disabled")
        self._deploy(found.looked)

    def _rehearsed(self) -> Rehearsed:
        gpus = TRYING * bool(self.made.ray_actor_options.get("num_gpus"))
        task = self.ray.remote(num_cpus=0, num_gpus=gpus, max_calls=1)(rehearse)
        try:
            found: Rehearsed = self.ray.get(task.remote(self.plan), timeout=PATIENCE)
        except self.ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, MogaNetError):
                raise cause from None
            how = "each machine of the cluster needs moganet[serve,scale], as this one has it"
            raise UnreachableError(f"Ray could not try the models: {first_line(cause or error)}; {how}") from error
        if found.version != VERSION:
            what = f"the cluster has moganet {found.version}, and this is {VERSION}"
            raise ConfigError(f"{what}; install the same in both")
        return found

    def _deploy(self, looked: Mapping[str, Looked]) -> None:
        """Start replicas of these models, in the place of those that there are, one after the other."""
        bound = self.made.bind(self.plan, {name: one.stamp for name, one in looked.items()})
        try:
            handle = in_time(lambda: self.serve.run(bound, name=self.name, route_prefix=None))
        except TimeoutError:
            what = f"the replicas did not start within {PATIENCE:g} s"
            raise UnreachableError(f"{what}: {self._told()}; see --replicas and --threads") from None
        except (RuntimeError, self.ray.exceptions.RayError) as error:
            raise UnreachableError(f"the replicas could not be started: {last_line(str(error))}") from None
        self.replicas, self.looked = Asking(self.ray, handle, self.number), looked

    def _told(self) -> str:
        """Give what Ray says of the replicas."""
        application = self.serve.status().applications[self.name]
        said = [one.message for one in application.deployments.values() if one.message]
        return last_line(said[0] if said else application.status)

    def reload(self) -> Mapping[str, str]:
        """Take changed models anew, where all of them can be loaded; give what came of each."""
        outcome = self._reloaded()
        for one in outcome.values():
            self.figures.reloads.labels(one).inc()
        return outcome

    def _reloaded(self) -> Mapping[str, str]:
        try:
            found = self._rehearsed()
            changed = {name for name, one in found.looked.items() if one != self.looked[name]}
            if changed:
                self._deploy(found.looked)
        except MogaNetError as error:
            say(f"nothing was reloaded, and all answer as before: {error}", doubtful=True)
            return dict.fromkeys(self.looked, "kept")
        return {name: "changed" if name in changed else "same" for name in self.looked}

    def serving(self) -> tuple[Serving, ...]:
        """Say what is served, the default first."""
        return tuple(one.serving for one in self.looked.values())

    def end(self) -> None:
        """Take the replicas away, and Ray Serve where nothing else is served by it."""
        if not self._begun:
            return
        try:
            self.serve.delete(self.name)
            if not self.serve.status().applications:
                self.serve.shutdown()
        except Exception as error:  # the cluster itself has ended, say
            say(f"{self.name} may still be in the cluster: {first_line(error)}", doubtful=True)


def deployment_of(ray: Any, plan: Plan, spread: Spread) -> Any:
    """Give Ray's description of a plan's replicas. Raises ConfigError for a GPU by its number."""
    threads, limits = plan.threads or 1, plan.limits
    scaled: dict[str, Any] = {"num_replicas": spread.fewest}
    if spread.most > spread.fewest:
        steps = {"upscale_delay_s": SOON, "look_back_period_s": SOON + 1, "downscale_delay_s": LATE}
        reach = {"min_replicas": spread.fewest, "max_replicas": spread.most}
        scaled = {"autoscaling_config": {**reach, **steps, "target_ongoing_requests": BUSY * threads}}
    return ray.serve.deployment(
        Replica,
        name="replica",
        ray_actor_options={"num_cpus": threads, "num_gpus": GPU * takes_gpu(ray, plan)},
        max_ongoing_requests=2 * limits.queue,  # the door lets in fewer
        health_check_period_s=HEALTH,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=limits.seconds + 1,
        logging_config={"enable_access_log": False},
        **scaled,
    )


def takes_gpu(ray: Any, plan: Plan) -> bool:
    """Tell whether each replica takes a GPU: where it is asked for, or is left open and the cluster has some."""
    device = str(plan.choices.get("device", "auto"))
    if device.startswith("cuda:"):
        raise ConfigError(f"--device {device} can't be had: Ray chooses each replica's GPU; say --device cuda")
    if device == "auto" and ray.is_initialized() and ray.cluster_resources().get("GPU", 0) >= 1:
        say("the cluster has GPUs, so that each replica takes one; --device cpu does without")
        return True
    return device == "cuda"


def in_time(work: Callable[[], Any]) -> Any:
    """Give what a function gives that may wait without an end. Raises TimeoutError once nobody should wait longer."""
    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True, name="deploying").start()
    return done.result(timeout=PATIENCE)


def last_line(text: str) -> str:
    """Give the last line of a text that carries another process's traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing is said"
