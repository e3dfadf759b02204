"""`moganet settings`: what may be set, and what it means."""

from typing import Annotated

from moganet_cli.app import TRAINING, app
from moganet_cli.completion import quick, recipes, settings_names
from moganet_cli.help import PRINTED
from moganet_cli.options import AsJson, argument, option
from moganet_cli.output import line, print_json, print_table

WORD = "Only settings in whose name this stands; where it is in none, in whose meaning."
MARKDOWN = "Print Markdown, as docs/settings.md is."
either = quick(lambda ctx, incomplete: [*recipes(ctx, incomplete), *settings_names(ctx, incomplete)])


@app.command(
    help="List every setting of a recipe: value, default, unit and meaning. `train --set KEY=VALUE` changes one.",
    epilog="moganet settings digits\nmoganet settings digits lr",
    rich_help_panel=TRAINING,
)
def settings(
    recipe: Annotated[
        str | None, argument("[RECIPE]", "A recipe whose values are shown, beside defaults.", either)
    ] = None,
    word: Annotated[str | None, argument("[WORD]", WORD, settings_names)] = None,
    markdown: Annotated[bool, option("--markdown", MARKDOWN, panel=PRINTED)] = False,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.settings import as_markdown
    from moganet.engine.settings import settings as run

    result = run(recipe, word)
    if as_json:
        print_json(result)
    elif markdown:
        line(*as_markdown(result).splitlines())
    else:
        print_table(*result.table())
