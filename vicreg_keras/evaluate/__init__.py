"""What are the representations worth? Arrays in, numbers out, one protocol a file."""
