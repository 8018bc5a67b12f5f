"""Pictures, drawn by a program and stamped as such."""
