"""One module for each kind of connection or session that an app has. None is imported before it is needed."""
