"""The training wing: data -> models -> loop -> evaluation -> export, report and campaign. Install it with ``pip install 'mien[train]'``."""
