"""The web page, the REST service and the live stream: decode a request, run the pipeline, encode the answer.

``mien.serve.app.create_app(settings)`` returns the application, and ``mien serve`` runs it.
"""
