"""What is around a whole app: ids, metrics, traces, a key, a limit."""
