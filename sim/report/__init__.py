"""One content model, several formats."""
