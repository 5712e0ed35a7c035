"""Writes what a person reads: the HTML pages of an evaluation and of an audit, and the model card."""
