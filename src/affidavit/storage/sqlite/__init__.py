"""The SQLite engine: the app's file with the events, and an index file that may be deleted."""
