"""What is added to an event when it is recorded: the client behind proxies, its label, its place."""
