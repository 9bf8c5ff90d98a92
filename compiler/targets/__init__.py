"""What graphs are compiled to."""
