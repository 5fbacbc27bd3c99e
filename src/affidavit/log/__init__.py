"""Use-cases over the recorded events; they know the storage protocols and no engine."""
