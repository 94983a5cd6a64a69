"""The input of commands: documents, inputs, and where pipelines run."""
