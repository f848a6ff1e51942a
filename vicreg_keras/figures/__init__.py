"""Every figure, drawn once; one subject per file."""
