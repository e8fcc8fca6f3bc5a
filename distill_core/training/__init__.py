"""Distillation as a computation: data and teacher in, events and a student out."""
