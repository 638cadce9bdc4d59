"""Measure a model: numbers, floors, tables and pictures."""
