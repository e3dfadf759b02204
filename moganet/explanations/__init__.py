"""METHODS that say why a network decides as it does, as maps (H, W) at the image's resolution.

They take callables or torch modules and tensors, never a Predictor or a run. To add one: a function and a line here;
tests/contracts/test_methods.py tests it.
"""

from collections.abc import Mapping, Sequence

from moganet.errors import ConfigError
from moganet.explanations.gradients import gradcam, integrated_gradients, saliency
from moganet.explanations.lime import lime
from moganet.explanations.method import Explanation, Method
from moganet.explanations.occlusion import occlusion
from moganet.explanations.orders import orders

METHODS: dict[str, Method] = {
    "lime": Method(lime, needs_module=False, signed=True, cost="200 to 4,000 predictions, or --samples"),
    "occlusion": Method(occlusion, needs_module=False, signed=True, cost="about 225 predictions"),
    "integrated-gradients": Method(integrated_gradients, needs_module=True, signed=True, cost="50 gradients"),
    "saliency": Method(saliency, needs_module=True, signed=False, cost="25 gradients"),
    "gradcam": Method(gradcam, needs_module=True, signed=False, cost="1 gradient"),
    "orders": Method(orders, needs_module=True, signed=False, cost="1 forward pass", needs_branches=True),
}

__all__ = ["METHODS", "Explanation", "Method", "check_options"]


def check_options(names: Sequence[str], options: Mapping[str, object]) -> None:
    """Raise ConfigError for an option that is given and that none of the methods has."""
    known = {option for name in names for option in METHODS[name].options} - {"seed", "progress"}
    for option, value in options.items():
        if value is not None and option not in known:
            known_ones = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"{', '.join(names)} has no option {option!r}; it has {known_ones}")
