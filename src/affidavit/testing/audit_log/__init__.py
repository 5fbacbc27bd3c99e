"""What a test recorded: heard as it happens, and followed until it is known what became of it."""
