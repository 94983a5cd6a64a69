"""What agents of other frameworks and of users share: their code, the report of what they do, and their answers."""
