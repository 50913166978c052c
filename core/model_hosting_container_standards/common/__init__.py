"""What every hosting contract needs: code references, handlers, routing, transforms."""
