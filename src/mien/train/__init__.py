"""The training wing: data -> models -> loop -> evaluation -> export, report and campaign. It needs ``pip install 'mien[train]'``."""
