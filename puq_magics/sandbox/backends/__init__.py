"""What answers for real behind the router: an engine on this machine, or another server."""
