"""Import paths of the published 0.1.x."""
