"""The web page, the REST service and the live socket: decode, pipeline, encode.

``mien.serve.app.create_app(settings)`` is the application, ``mien serve`` runs it.
"""
