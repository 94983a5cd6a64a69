"""What commands read: documents, inputs, and where pipelines run."""
