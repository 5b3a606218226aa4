"""`python -m ddbench` is the `ddbench` command."""

from ddbench.cli import main

main()
