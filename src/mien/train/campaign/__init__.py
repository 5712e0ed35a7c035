"""Trains many networks on one accelerator: teachers, then the best ensemble of them, then students that learn its answers.

::

    CAMPAIGN.toml -> plan.py -> run.py -> device_fit.py, one net after the other -> choose.py -> students -> pack.py

``python -m mien.train.campaign CAMPAIGN.toml --data DIR --out DIR --minutes 9`` continues where the last call stopped. It needs
KERAS_BACKEND=jax, which the command sets, and no TensorFlow.
"""
