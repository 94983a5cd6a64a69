"""What the dialects of model APIs share: pipelines as models, conversations as questions, and updates as turns of a model."""
