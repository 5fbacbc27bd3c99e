"""Storage roles as protocols, and one package for each engine that implements them."""
