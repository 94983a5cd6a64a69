"""What a request has to pass before an endpoint gets it: ASGI middleware, which streams."""
