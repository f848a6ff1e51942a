"""What came of a run? One HTML page that holds all of it and needs no network."""
