"""MogaNet (arXiv 2211.03295): train, evaluate and predict with multi-order gated aggregation networks."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from moganet.files import give_packages_a_home
from moganet.importing import from_homes, import_behind
from moganet.launchers import check_environment
from moganet.network.releases import Loaders, connected
from moganet.processors import prepare_threads

if TYPE_CHECKING:
    from torch.nn import Module

    from moganet.data import open_data
    from moganet.engine.annotations import annotations
    from moganet.engine.average import average
    from moganet.engine.benchmark import benchmark_infer, benchmark_train
    from moganet.engine.benchmark_data import benchmark_data
    from moganet.engine.compare import compare
    from moganet.engine.convert import convert
    from moganet.engine.doctor import doctor
    from moganet.engine.embed import embed
    from moganet.engine.evaluate import evaluate
    from moganet.engine.explain import explain
    from moganet.engine.export import export
    from moganet.engine.info import info
    from moganet.engine.interactions import interaction_curves
    from moganet.engine.predict import predict
    from moganet.engine.probe import probe
    from moganet.engine.push import push
    from moganet.engine.report import write_report
    from moganet.engine.runs import runs
    from moganet.engine.series import train_folds, train_seeds
    from moganet.engine.settings import settings
    from moganet.engine.shards import index_shards, make_shards
    from moganet.engine.similar import similar
    from moganet.engine.train import train
    from moganet.engine.tune import tune
    from moganet.engine.verify import verify
    from moganet.inference import Prediction, Predictor
    from moganet.inference.load import list_models, load
    from moganet.inference.own_network import model
    from moganet.network import MogaNet, build_network

give_packages_a_home()
prepare_threads()
__version__ = version("moganet")
__all__ = ["MogaNet", "Prediction", "Predictor", "build_network", "list_models", "load", "model", "open_data"]
__all__ += [
    "annotations",
    "average",
    "benchmark_data",
    "benchmark_infer",
    "benchmark_train",
    "convert",
    "doctor",
    "evaluate",
    "explain",
]
__all__ += ["embed", "export", "info", "interaction_curves", "predict", "probe", "push", "settings", "similar", "train"]
__all__ += [
    "compare",
    "index_shards",
    "make_shards",
    "runs",
    "train_folds",
    "train_seeds",
    "tune",
    "verify",
    "write_report",
]
_HOMES = {  # of those that do not lie in a file of engine/ by their own name
    **dict.fromkeys(("MogaNet", "build_network"), "network"),
    **dict.fromkeys(("Prediction", "Predictor"), "inference"),
    **dict.fromkeys(("list_models", "load"), "inference.load"),
    **dict.fromkeys(("train_folds", "train_seeds"), "engine.series"),
    **dict.fromkeys(("index_shards", "make_shards"), "engine.shards"),
    "model": "inference.own_network",
    **dict.fromkeys(("benchmark_infer", "benchmark_train"), "engine.benchmark"),
    **{"open_data": "data", "interaction_curves": "engine.interactions", "write_report": "engine.report"},
}


def _fetch(name: str, folder: Path | None) -> Path:
    from moganet.models.download import fetch

    return fetch(name, folder)


def _read(network: "Module", path: Path, weights: str | None) -> None:
    from moganet.models.open import load_into

    load_into(network, path, weights)


# The network's room lies below those that read and download; timm's hooks reach them through here.
connected.append(Loaders(_fetch, _read))
import_behind("timm", "moganet.network.registry")
check_environment()  # before Lightning reads the environment


__getattr__ = from_homes(__name__, {name: f"moganet.{_HOMES.get(name, f'engine.{name}')}" for name in __all__})


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
