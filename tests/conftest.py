"""What every test has at hand."""

pytest_plugins = ["conformance_table", "last_words"]
