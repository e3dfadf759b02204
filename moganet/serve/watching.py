"""What watches over the service asks: is it alive and ready, what does it serve, and how is it doing."""

from fastapi import APIRouter, Response

from moganet.results import Record
from moganet.serve.bodies import JSON
from moganet.serve.explaining import methods_of
from moganet.serve.figures import Figures
from moganet.serve.hosted import Card, Hosted
from moganet.serve.problems import as_json
from moganet.serve.service import VERSION, Service


class Cards(Record):
    """The models that are served, the default first."""

    models: tuple[Card, ...]


class State(Record):
    """How the service is."""

    status: str


def routes(service: Service) -> APIRouter:
    """Give the routes."""
    router = APIRouter(tags=["moganet"])

    @router.get("/v1/models", summary="What is served", response_model=Cards)
    async def models() -> Response:
        return Response(as_json(Cards(models=cards_of(service)).model_dump(mode="json")), media_type=JSON)

    @router.get("/readyz", summary="Can it answer?", response_model=State)
    async def ready() -> Response:
        service.check_ready()
        return Response(as_json(State(status="ready")), media_type=JSON)

    router.include_router(routes_of_process(service.figures))
    return router


def routes_of_process(figures: Figures) -> APIRouter:
    """Give the routes that the process which listens answers by itself, whatever lies behind it."""
    router = APIRouter()

    @router.get("/healthz", summary="Is the service alive?", response_model=State)
    async def alive() -> Response:
        return Response(as_json(State(status="alive")), media_type=JSON)

    @router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
    async def metrics() -> Response:
        content, kind = figures.text()
        return Response(content, headers={"content-type": kind})

    return router


def cards_of(service: Service) -> tuple[Card, ...]:
    """Say of each model what it is."""
    return tuple(_card(hosted, default=not place) for place, hosted in enumerate(service.shelf.all()))


def _card(hosted: Hosted, *, default: bool) -> Card:
    predictor = hosted.predictor
    own = predictor.config
    return Card(
        name=hosted.name,
        default=default,
        sha256=hosted.sha256,
        version=VERSION,
        task=own.task.name,
        network=own.architecture.name,
        classes=own.class_names,
        preprocessing=own.preprocessing,
        runtime=predictor.runtime,
        precision=predictor.precision,
        device=str(predictor.device),
        calibrated=own.task.temperature is not None,
        rejects=hosted.rejects,
        methods=methods_of(predictor),
        accuracy=hosted.accuracy,
        trained_on=hosted.trained_on,
        untrained=not predictor.trained,
    )
