"""Tier 1: the walls as equations."""
