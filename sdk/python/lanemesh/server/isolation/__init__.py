"""Bodies with `isolation: "process"`, and the child process that runs them."""
