"""Jobs over many files. A job is divided into shards, and workers on one or many machines process them.

After any kill, the same command finishes the job.

The data flow: ``listing`` (sources to inputs) -> ``plan`` (shards) -> an engine (``local``, ``cluster``) whose workers run ``shard`` ->
``folder`` (parts appear complete, with a checksum in the manifest) -> ``summary`` and ``report``. ``job`` connects these steps.
"""
