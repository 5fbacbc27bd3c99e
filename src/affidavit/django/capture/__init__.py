"""Changes of Django models, recorded by themselves; what shows no objects is counted."""
