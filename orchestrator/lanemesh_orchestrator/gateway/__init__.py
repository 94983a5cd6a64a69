"""The web gateway: HTTP, server-sent events, WebSockets and the dialects of other APIs, for the pipelines of a mesh."""
