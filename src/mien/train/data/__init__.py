"""Reads labelled faces from folders and CSV files into a data set with splits, and finds the problems in such a data set."""
