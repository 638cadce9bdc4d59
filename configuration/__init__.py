"""Presets of StoryAttnConfig (`*.json`), training recipes and accelerate launch files, as package data."""
