"""Tasks and their examples: GLUE, bundled samples and data sets of the user's own."""
