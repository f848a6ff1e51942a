"""What does it look like? Every picture is drawn here, one subject a file."""
