"""Models: build, load and tune one, say where its parts come from, store its weights; and the baselines."""
