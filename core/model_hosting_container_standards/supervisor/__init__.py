"""``standard-supervisor``: restarts a crashing command a limited number of times."""
