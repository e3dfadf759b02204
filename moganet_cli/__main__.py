"""`python -m moganet_cli`: the command."""

from moganet_cli import main

main()
