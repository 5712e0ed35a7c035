"""The addresses of the service, one file per group: each reads a request, asks `work`, and writes the answer."""
