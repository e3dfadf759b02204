"""A run's last.ckpt: Lightning's checkpoint, in which the network's tensors lie beside the model's description."""

from moganet.models.choices import Choices
from moganet.models.description import DESCRIPTION_KEY, description_in
from moganet.models.formats.format import Format
from moganet.models.reading.checkpoint import Checkpoint, checked_state
from moganet.models.reading.contents import Content

# Where the model's description is kept, and how the names of its tensors begin.
RUN_KEY, RUN_PREFIX = DESCRIPTION_KEY, "network."


def is_run(content: Content) -> bool:
    """Tell whether a file is a checkpoint of a training of ours."""
    values = content.values
    if content.kind != "torch" or not isinstance(values, dict) or not isinstance(values.get(RUN_KEY), str):
        return False
    state = values.get("state_dict")
    return isinstance(state, dict) and any(str(name).startswith(RUN_PREFIX) for name in state)


def read_run(content: Content, choices: Choices) -> Checkpoint:
    """Read the network out of a file's content."""
    description = description_in({RUN_KEY: content.values[RUN_KEY]}, content.path)
    state = content.values["state_dict"]
    own = {n.removeprefix(RUN_PREFIX): t for n, t in state.items() if str(n).startswith(RUN_PREFIX)}
    return Checkpoint("run's checkpoint", checked_state(own, content.path), description=description)


FORMAT = Format("a run's last.ckpt", is_run, read_run)
