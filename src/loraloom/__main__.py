"""`python -m loraloom`: the command line."""

from loraloom.cli import main

main()
