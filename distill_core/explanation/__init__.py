"""One text explained by several models: request, maps, cache, agreement."""
