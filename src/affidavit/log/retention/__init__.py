"""Retention: policies, legal holds, expiry and pruning."""
