"""The catalog of models: finding and describing them, user models, compatibility checks, deletion."""
