"""HTTP below the contract: bodies, endpoints, routes, errors, the lifespan."""
