"""Jobs over many files: planned into shards, done by workers on one machine or many, finished by the same command after any kill.

The way of the data: ``listing`` (what the sources stand for) -> ``plan`` (shards) -> an engine (``local``, ``cluster``) whose workers run
``shard`` -> ``folder`` (parts appear whole, with a checksum in the manifest) -> ``summary`` and ``report``. ``job`` composes.
"""
