"""What `mhcs.ray` uses of Ray 2.60, laid out as there; replicas are objects here."""
