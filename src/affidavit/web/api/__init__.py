"""The API, one module a resource. Each exports ``OPERATIONS``."""
