"""Trellis, an integration platform: teams connect other products to it and let them be synchronized."""
