"""A run's settings: configuration, distillation methods, recipes, layer mapping."""
