"""The server's processes, begun together and ended together."""
