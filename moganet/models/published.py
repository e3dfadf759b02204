"""The published weights of timm's networks, from the hub's cache on this machine or from the hub."""

import timm
from huggingface_hub import constants, try_to_load_from_cache
from torch import Tensor

from moganet.config import Architecture
from moganet.errors import ConfigError, first_line
from moganet.models.download import unreachable
from moganet.models.timms import TIMM, create
from moganet.notices import say

FILES = ("model.safetensors", "pytorch_model.bin")  # in which timm keeps weights on the hub


def published(name: str) -> tuple[Architecture, dict[str, Tensor]] | None:
    """Give a network of timm's with its published weights; None, which is said, where these can't be had.

    Raises ConfigError for a name that timm does not know.
    """
    cfg = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    if cfg is None or not cfg.has_weights:
        return None
    cached = [found for file in FILES if cfg.hf_hub_id and (found := try_to_load_from_cache(cfg.hf_hub_id, file))]
    reason = "" if cached or not cfg.hf_hub_id else unreachable(constants.ENDPOINT)
    if not reason:
        # The hub's client would ask for a newer file first, and wait where there is no connection.
        overlay = {"pretrained_cfg_overlay": {"file": cached[0]}} if cached and isinstance(cached[0], str) else {}
        try:
            state = create(Architecture(name=name), pretrained=True, **overlay).state_dict()
            return Architecture(name=name, num_classes=cfg.num_classes, in_chans=cfg.input_size[0]), state
        except ConfigError:
            raise
        except Exception as error:  # the hub's client raises errors of many kinds
            reason = first_line(error)
    say(f"the weights of {name} can't be had, so random ones are taken: {reason}", doubtful=True)
    return None
