"""Import of a model from the Hugging Face hub or a folder: download, conversion, checks."""
