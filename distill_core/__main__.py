"""`python -m distill_core`: the command line."""

from distill_core.cli import main

main()
