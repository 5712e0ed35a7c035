"""Reads labelled faces: folders and CSV files become a data set with splits; checks and audits find what is wrong with it."""
