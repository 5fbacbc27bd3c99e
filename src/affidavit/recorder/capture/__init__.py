"""Changes recorded by themselves, model by model; what an ORM does not show is counted."""
