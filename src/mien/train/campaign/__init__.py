"""Many nets on one accelerator, in pieces: teachers, the best ensemble of them, and students that learn its answers.

::

    CAMPAIGN.toml -> plan.py -> run.py -> device_fit.py, a net after the other -> choose.py -> students -> pack.py

``python -m mien.train.campaign CAMPAIGN.toml --data DIR --out DIR --minutes 9`` goes on where the last call stopped. It needs
KERAS_BACKEND=jax, which the command sets, and no TensorFlow.
"""
