"""What runs where events are recorded: checking them and handing them to a store."""
