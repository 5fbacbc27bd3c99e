"""Small programs for development that the Makefile starts; nothing of it is in the wheel."""
