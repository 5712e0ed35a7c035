"""Trains many networks on one accelerator: teachers first, then students that learn from the best ensemble of the teachers.

::

    CAMPAIGN.toml -> plan.py -> run.py -> device_fit.py, one net at a time -> choose.py -> students -> pack.py

``python -m mien.train.campaign CAMPAIGN.toml --data DIR --out DIR --minutes 9`` continues where the last call stopped. It needs
KERAS_BACKEND=jax, which the command sets. It does not need TensorFlow.
"""
