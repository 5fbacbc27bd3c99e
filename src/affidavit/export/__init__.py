"""Files that leave: one module a format, each a generator of byte chunks over batches of stored events."""
