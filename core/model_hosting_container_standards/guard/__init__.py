"""What a request must pass before the app: key, size, encoding."""
