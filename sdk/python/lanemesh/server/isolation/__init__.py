"""The execution of bodies with `isolation: "process"`, and the child process that runs them."""
