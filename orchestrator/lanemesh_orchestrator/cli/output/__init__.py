"""The output of commands: outputs, updates, logs, errors and the live view."""
