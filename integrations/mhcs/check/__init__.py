"""``mhcs check``: ask a running container everything that the contract promises."""
