"""Backends that answer behind the router: an engine on this machine, or another server."""
