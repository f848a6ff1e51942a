"""What does it look like? Every picture is drawn here, one context a file."""
