"""Record and replay: a transport around a transport, and the folder of its recordings."""
