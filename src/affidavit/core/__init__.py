"""The pure core: event, stored form, filters, catalogs. No I/O, no clock, no randomness, no driver."""
