"""How does an encoder leave the program that trained it? As files of three formats."""
