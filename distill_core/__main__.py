"""`python -m distill_core`: the command line, the same as the installed command `distillation-lens`."""

from distill_core.cli import main

main()
