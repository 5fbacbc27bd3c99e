"""What puts a context around each request of a web framework. Pure: no framework is imported."""
