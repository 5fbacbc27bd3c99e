"""Who may do what: abilities, credentials, and the one scope function that every route uses."""
