"""Requests on their way to what answers for real: an engine on this machine, or another server."""
