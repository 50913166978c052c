"""``standard-supervisor``: restarts a command that crashes, until it gives up."""
