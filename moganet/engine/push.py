"""`push`: a model as a folder for the Hugging Face hub, with its card, and there where a token is at hand."""

import os
import re
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from moganet.config import Architecture
from moganet.errors import ConfigError, OutputError, first_line
from moganet.files import write_text
from moganet.inference import ModelDescription, load_model_file, read_model
from moganet.models.build import complete
from moganet.models.choices import Choices
from moganet.models.evaluations import evaluations_of, release_of
from moganet.models.formats.hub import write_hub
from moganet.models.hub_folder import TENSORS, is_hub_folder
from moganet.models.provenance import without_place
from moganet.models.timms import TIMM, is_timms
from moganet.notices import noted, printable, say
from moganet.results import Result
from moganet.tasks import TASKS

CARD = "README.md"
MARKS = re.compile(r"[\\`*_\[\]#|~!>&$]")  # what Markdown makes something of


class Pushed(Result):
    """A hub folder. out: where it lies. uploaded: whether it is on the hub too. url: where."""

    model: str
    out: str
    repo: str
    uploaded: bool
    url: str | None = None


@noted
def push(
    model: str | Path, repo: str, out: str | Path | None = None, *, private: bool = False, **choices: Any
) -> Pushed:
    """Make the hub folder of a MODEL, and upload it where the hub's own client finds a token.

    repo: "user/name". out: the folder [default: the name, here]. choices: as in `load`.
    Raises OutputError where the hub refuses.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(f"{repo!r} is no name on the hub: {' '.join(str(error).split())[:200]}") from None
    stored = read_model(model, Choices(**choices))
    folder = Path(out) if out is not None else Path(repo.rpartition("/")[2])
    _check_card(folder)
    write_hub(folder, *complete(stored))
    _, description = load_model_file(folder / TENSORS)
    write_text(folder / CARD, _card(repo, description, evaluations_of(model, description)))
    result = Pushed(model=str(model), out=str(folder), repo=repo, uploaded=False)
    token = huggingface_hub.get_token()
    if token is None:
        return result
    try:
        api = huggingface_hub.HfApi(token=token)
        url = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, allow_patterns=[CARD, TENSORS, "config.json"])
    except Exception as error:  # the hub's client raises errors of many kinds
        raise OutputError(f"{folder} is made, but {repo} can't be uploaded: {first_line(error)}") from None
    return result.changed(uploaded=True, url=str(url))


USE_TIMM = """import moganet, timm  # import moganet registers the network with timm

network = timm.create_model("hf-hub:{repo}", pretrained=True).eval()"""


def _check_card(folder: Path) -> None:
    """Refuse to write a card over somebody's own text; say where a hub folder's is replaced."""
    card = folder / CARD
    if os.path.lexists(card):
        if not is_hub_folder(folder):
            raise OutputError(f"{card} is there, and would be replaced by the model's card; choose another --out")
        say(f"{card} was there, and is replaced")


def _shown(text: object) -> str:
    """Give a name as a Markdown page shows it: as it is, on one line, without making anything of it."""
    return MARKS.sub(r"\\\g<0>", printable(text)).replace("<", "&lt;")


def _card(repo: str, description: ModelDescription, evaluations: list[dict[str, Any]]) -> str:
    height, width = description.preprocessing.size
    names = ", ".join(map(_shown, description.class_names[:20])) + (", …" if len(description.class_names) > 20 else "")
    kind, network, tags = _kind(description.architecture)
    library = "timm" if description.architecture.head is None else "moganet"  # timm has no segmenters
    return f"""---
library_name: {library}
pipeline_tag: {TASKS[description.task.name].pipeline}
tags:
- {TASKS[description.task.name].pipeline}
- {library}
{tags if library == "timm" else ""}---
# {repo.rpartition("/")[2]}

{kind} for images of {width}x{height} pixels.

- Network: {network}
- Classes: {len(description.class_names)} ({names})
- SHA-256 of the tensors: `{description.sha256}`

## Accuracy

{_figures(description, evaluations)}

## Use

```python
{USE_TIMM.format(repo=repo) if library == "timm" else "import moganet"}
predictor = moganet.load("{repo.rpartition("/")[2]}")  # the downloaded folder: names and preprocessing included
```
"""


def _kind(architecture: Architecture) -> tuple[str, str, str]:
    if is_timms(architecture.name):
        name = architecture.name.removeprefix(TIMM)
        return f"A network of timm's, {name}, trained by moganet,", f"`{name}`", ""
    function = f"{architecture.gate} gate, {architecture.channel_aggregation} channel aggregation"
    head = "" if architecture.head is None else f" with the head {architecture.head.title}"
    network = f"`{architecture.name}`{head}, {function},\n  stem stride {architecture.stem_stride}"
    return "A MogaNet ([arXiv 2211.03295](https://arxiv.org/abs/2211.03295))", network, "- moganet\n"


def _figures(description: ModelDescription, evaluations: list[dict[str, Any]]) -> str:
    task = TASKS[description.task.name]
    lines = [
        f"- {task.say(e)} on {e['num_images']} images of {_shown(without_place(str(e['data'])))}, split "
        f"{_shown(e['split'])}; measured by `moganet evaluate`"
        for e in evaluations
    ]
    if (said := task.say(description.provenance.get("validation"))) is not None:
        lines.append(f"- {said} on the validation images, measured in training")
    if (release := release_of(description.provenance)) is not None:
        by = f"as published for {release.file} ({release.weights} weights)"
        lines.append(f"- {release.accuracy} on {release.data}'s validation set, {by}")
    return "\n".join(lines) or "Not measured."
