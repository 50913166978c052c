"""What the contract names: its routes and its headers."""
