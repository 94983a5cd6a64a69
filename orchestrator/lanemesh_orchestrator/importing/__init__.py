"""Documents of other systems as pipelines. Pure functions over JSON values."""
