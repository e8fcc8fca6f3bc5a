"""Distillation as a computation: takes data and a teacher, yields events and a student."""
