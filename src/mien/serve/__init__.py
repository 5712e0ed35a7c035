"""The web page, the REST service and the live socket: decode, pipeline, encode."""
