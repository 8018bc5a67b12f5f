"""What one shell holds."""
