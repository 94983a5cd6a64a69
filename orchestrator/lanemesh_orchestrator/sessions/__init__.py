"""Sessions: conversations over pipelines, whose turns are runs."""
