"""What does a person get of an evaluation? A table, a picture, a line in the run.

One mode a file: what is known of a run goes in, `evaluate` gives the numbers,
`figures` draws them.
"""
