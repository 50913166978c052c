"""Processes of one machine: their tree, their heartbeats, their sockets."""
