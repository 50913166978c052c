"""The requests that are being answered."""
