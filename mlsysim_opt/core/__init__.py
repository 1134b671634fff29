"""Seed-era addresses: what stands here is a re-export."""
