"""The compared Django project: customers with tags."""
