"""Writes reports for people: the HTML pages of an evaluation and of an audit, and the model card."""
