"""The server-rendered pages: the table, one event, sign-in. No JavaScript anywhere in them."""
