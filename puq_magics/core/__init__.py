"""Ground that every room may stand on: errors, files, media types, secrets."""
