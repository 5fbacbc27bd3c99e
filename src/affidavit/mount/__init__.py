"""The page and the API as a part of a product: below its address, behind its own login."""
