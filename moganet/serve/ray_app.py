"""The service as an application of Ray Serve, for `serve deploy` and KubeRay: doors behind Ray's proxies, and replicas.

    serve run moganet.serve.ray_app:app models=runs/a replicas=1-4     # the options of `moganet serve`

Each door has limits and figures of its own.
"""

from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import field_validator
from starlette.types import Receive, Scope, Send

from moganet.config import Settings
from moganet.serve.door import Door
from moganet.serve.forwarding import Front
from moganet.serve.limits import Limits
from moganet.serve.on_ray import Asking, deployment_of
from moganet.serve.page import mount
from moganet.serve.plan import Plan, Spread
from moganet.serve.run import Opening, access_of
from moganet.serve.shelf import named_models


class Options(Settings):
    """What is served and how, by the names of the command's options."""

    models: tuple[str, ...]
    replicas: str = "2"
    doors: int = 2
    threads: int = 1
    device: str = "auto"
    runtime: Literal["auto", "eager", "compile", "onnx", "openvino"] = "auto"
    precision: Literal["f32", "bf16", "f16"] = "f32"
    token_file: Path | None = None
    open: bool = False
    cors: tuple[str, ...] = ()
    no_page: bool = False
    samples: Path | None = None
    max_mb: float = 20
    max_pixels: int = Limits.pixels
    max_images: int = Limits.images
    max_seconds: float = Limits.seconds
    queue: int = Limits.queue

    @field_validator("models", "cors", mode="before")
    @classmethod
    def _several(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given  # as on `serve run`'s command line

    @field_validator("replicas", mode="before")
    @classmethod
    def _text(cls, given: Any) -> Any:
        return str(given) if isinstance(given, int) else given

    @property
    def limits(self) -> Limits:
        """Give what a request may ask."""
        return Limits(int(self.max_mb * 1e6), self.max_pixels, self.max_images, self.queue, self.max_seconds)

    @property
    def opening(self) -> Opening:
        """Say who may ask. Ray's proxies listen where Ray is told to: other machines may be able to ask."""
        return Opening("0.0.0.0", 0, None, self.token_file, self.open, self.cors)


class Doors:
    """A process that lets requests in, and sends them to the replicas."""

    door: ClassVar[Door]  # of this process

    def __init__(self, handle: Any, options: Options) -> None:
        import ray

        replicas = Asking(ray, handle, Spread.of(options.replicas).fewest)
        front = Front(options.limits, options.cors, replicas)
        Doors.door = Door(front, front, access_of(options.opening))


class _ToDoor:
    """The application that Ray is told of: it must travel, and a door does not."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Doors.door(scope, receive, send)


def app(options: Options) -> Any:
    """Build the application. Raises ConfigError for what can't be."""
    import ray
    from ray import serve

    access = access_of(options.opening)
    extend = None if options.no_page else partial(mount, samples=options.samples)
    choices = options.model_dump(include={"threads", "device", "runtime", "precision"})
    plan = Plan(named_models(options.models), options.limits, access.origins, extend, choices).elsewhere()
    replicas = deployment_of(ray, plan, Spread.of(options.replicas)).bind(plan)
    doors = serve.deployment(
        serve.ingress(_ToDoor())(Doors),
        name="door",
        num_replicas=options.doors,
        ray_actor_options={"num_cpus": 0.5},
        max_ongoing_requests=2 * options.queue,  # a door has its own limit, and asks for less
        graceful_shutdown_timeout_s=options.max_seconds + 1,
    )
    return doors.bind(replicas, options)
