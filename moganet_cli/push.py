"""`moganet push`: a model on the Hugging Face hub."""

from pathlib import Path
from typing import Annotated, Unpack

from moganet_cli.app import FILES, app
from moganet_cli.options import AsJson, FunctionChoices, Model, argument, option, with_options
from moganet_cli.output import line, print_json


@app.command(
    help="Make a MODEL's folder for the Hugging Face hub, and upload it where a token is at hand.",
    epilog="moganet push runs/digits-1 me/digits",
    rich_help_panel=FILES,
)
@with_options
def push(
    model: Model,
    repo: Annotated[str, argument("REPO", "user/name on the hub.")],
    out: Annotated[Path | None, option("The folder [default: REPO's name, here].")] = None,
    private: Annotated[bool, option("--private", "Make a private repository.")] = False,
    as_json: AsJson = False,
    **choices: Unpack[FunctionChoices],
) -> None:
    from moganet.engine.push import push as run

    result = run(model, repo, out, private=private, **choices)
    made = f"{result['out']}: config.json, model.safetensors, README.md"
    sent = f"uploaded: {result['url']}" if result["uploaded"] else "not uploaded: no token; run `hf auth login` first"
    print_json(result) if as_json else line(made, sent)
