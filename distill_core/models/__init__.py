"""Encoder classifiers: families, layers, tokenization, loading, evaluation."""
