from __future__ import annotations

from hypothesis import settings

# A busy machine is not a failure; how long things take is measured in benchmarks/.
settings.register_profile("mien", deadline=None)
settings.load_profile("mien")
