"""What commands write: outputs, updates, logs, errors and the live view."""
