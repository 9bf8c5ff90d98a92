"""Graph passes: one a file, each a frozen dataclass with a name and `apply`."""
