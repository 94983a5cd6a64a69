"""What services share: models in packages, the errors of missing libraries and models, checked hosts, and instructions."""
