"""``bootstrap(app)`` and what it adds to an app."""
