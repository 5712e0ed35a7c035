"""Trains a recipe on a data set and writes a run folder. trained.py opens such a folder."""
