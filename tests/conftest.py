from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # for the tests that load onnxruntime before Mien does

# A busy machine is not a failure; how long things take is measured in benchmarks/.
settings.register_profile("mien", deadline=None)
settings.load_profile("mien")
