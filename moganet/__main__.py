"""`python -m moganet` is the `moganet` command."""

from moganet_cli import main

main()
