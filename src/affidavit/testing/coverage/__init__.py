"""Which routes that change something, and which models, recorded nothing while tests ran."""
